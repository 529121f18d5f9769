-- Links as they were followed, where that says more than the link as declared; of the identities file.
select
    event_key,
    url
from reports.delivery_tracking
where event_key in (select unnest($keys::varchar[]))
