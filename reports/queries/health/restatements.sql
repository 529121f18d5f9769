-- Published numbers that changed later, and why.
select
    restated_at,
    version,
    delivery_label,
    delivery_id,
    indicator,
    old_value,
    new_value,
    reason,
    detail
from meta.restatements
order by restated_at desc, delivery_id, indicator
limit 200
