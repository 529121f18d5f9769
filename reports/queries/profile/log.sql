-- A recipient's events, newest first. $type: a URL type's label, '' for all; $delivery_id: NULL for all.
select
    event_key,
    occurred_at,
    url_type_label,
    label,
    url,
    delivery_label,
    delivery_id,
    device_class,
    is_machine,
    machine_rule,
    message_id
from reports.profile_tracking
where recipient_id = $recipient_id
    and ($type = '' or url_type_label = $type)
    and ($delivery_id is null or delivery_id = $delivery_id)
    and (not $human or not is_machine)
order by occurred_at desc, event_key
limit $rows offset $skipped
