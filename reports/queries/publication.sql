-- Which version this is.
select
    version,
    run_id,
    published_at,
    data_through_at
from meta.publication
