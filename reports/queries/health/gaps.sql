-- Lines that a server wrote and nobody delivered.
select
    server,
    first_missing_pointer,
    last_missing_pointer,
    missing_count,
    before_at,
    after_at
from meta.pointer_gaps
order by missing_count desc, server, first_missing_pointer
limit 100
