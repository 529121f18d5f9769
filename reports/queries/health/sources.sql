-- Each source: how much was taken in, and when something last came.
with

newest as (
    select
        source,
        max(first_seen_at) as last_seen_at
    from meta.ingest_files
    group by source
)

select
    source.source,
    newest.last_seen_at,
    source.file_count,
    source.line_count,
    source.accepted_count,
    source.duplicate_count,
    source.quarantined_count,
    source.quarantine_rate,
    source.held_bytes,
    source.problem_file_count
from meta.ingest_sources as source
left join newest
    on source.source = newest.source
order by source.line_count desc
