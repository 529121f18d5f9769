select
    source,
    source_file,
    reason,
    cast(count(*) as bigint) as line_count,
    min(line_number) as first_line,
    max(line_number) as last_line,
    min(ingested_at) as first_ingested_at,
    max(ingested_at) as last_ingested_at
from {{ source('landed', 'set_aside') }}
where disposition = 'quarantined'
    -- The further pieces of an over-long line are no lines of their own.
    and reason <> 'continued'
group by source, source_file, reason
