-- Why messages failed.
select
    failure_label,
    failure_count,
    share_of_failures,
    share_of_processed
from reports.rpt_delivery_failures_by_reason
where delivery_id = $delivery_id
order by failure_count desc, failure_reason
