-- The delivery's events, newest first. $type: a URL type's label, '' for all.
select
    event_key,
    occurred_at,
    url_type_label,
    label,
    url,
    recipient_label,
    recipient_id,
    device_class,
    is_machine,
    machine_rule
from reports.delivery_tracking
where delivery_id = $delivery_id
    and ($type = '' or url_type_label = $type)
    and (not $human or not is_machine)
order by occurred_at desc, event_key
limit $rows offset $skipped
