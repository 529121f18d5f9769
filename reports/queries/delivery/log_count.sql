-- How many events delivery/log.sql has in all.
select count(*) as event_count
from reports.delivery_tracking
where delivery_id = $delivery_id
    and ($type = '' or url_type_label = $type)
    and (not $human or not is_machine)
