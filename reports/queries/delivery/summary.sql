-- From the target to what arrived.
select
    target_count,
    rejected_count,
    to_deliver_count,
    success_count,
    success_rate,
    error_count,
    error_rate,
    new_quarantine_count
from reports.rpt_delivery_summary
where delivery_id = $delivery_id
