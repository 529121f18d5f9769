-- Where messages failed.
select
    mail_domain,
    domain_label,
    failure_count,
    share_of_failures,
    share_of_processed
from reports.rpt_delivery_failures_by_domain
where delivery_id = $delivery_id
    and failure_count > 0
order by failure_count desc, mail_domain
limit 200
