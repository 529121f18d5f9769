-- How many events profile/log.sql has in all.
select count(*) as event_count
from reports.profile_tracking
where recipient_id = $recipient_id
    and ($type = '' or url_type_label = $type)
    and ($delivery_id is null or delivery_id = $delivery_id)
    and (not $human or not is_machine)
