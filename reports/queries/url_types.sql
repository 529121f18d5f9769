-- The kinds of tracking events.
select url_type_label
from meta.url_types
order by url_type
