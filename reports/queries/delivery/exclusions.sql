-- Why messages were rejected before sending.
select
    failure_label,
    message_count,
    share_of_rejected
from reports.rpt_delivery_exclusions
where delivery_id = $delivery_id
order by message_count desc, failure_reason
