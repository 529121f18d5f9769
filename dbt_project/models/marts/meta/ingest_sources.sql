with

files as (
    select
        source,
        cast(count(*) as bigint) as file_count,
        cast(sum(copy_count) as bigint) as copy_count,
        cast(sum(line_count) as bigint) as line_count,
        cast(sum(accepted_count) as bigint) as accepted_count,
        cast(sum(duplicate_count) as bigint) as duplicate_count,
        cast(sum(quarantined_count) as bigint) as quarantined_count,
        cast(sum(blank_count) as bigint) as blank_count,
        cast(sum(not_tracking_count) as bigint) as not_tracking_count,
        cast(sum(suppressed_count) as bigint) as suppressed_count,
        cast(sum(purged_count) as bigint) as purged_count,
        cast(sum(content_bytes) as bigint) as content_bytes,
        cast(sum(held_bytes) as bigint) as held_bytes,
        cast(count(*) filter (where held_bytes > 0) as bigint) as held_file_count
    from {{ ref('ingest_files') }}
    group by source
),

problems as (
    select
        source,
        cast(count(*) as bigint) as problem_file_count
    from {{ ref('problem_files') }}
    group by source
)

select
    coalesce(files.source, problems.source) as source,
    coalesce(files.file_count, 0) as file_count,
    coalesce(files.copy_count, 0) as copy_count,
    coalesce(files.line_count, 0) as line_count,
    coalesce(files.accepted_count, 0) as accepted_count,
    coalesce(files.duplicate_count, 0) as duplicate_count,
    coalesce(files.quarantined_count, 0) as quarantined_count,
    coalesce(files.blank_count, 0) as blank_count,
    coalesce(files.not_tracking_count, 0) as not_tracking_count,
    coalesce(files.suppressed_count, 0) as suppressed_count,
    coalesce(files.purged_count, 0) as purged_count,
    {{ ratio('files.quarantined_count', 'files.line_count') }} as quarantine_rate,
    coalesce(files.content_bytes, 0) as content_bytes,
    coalesce(files.held_bytes, 0) as held_bytes,
    coalesce(files.held_file_count, 0) as held_file_count,
    coalesce(problems.problem_file_count, 0) as problem_file_count
from files
full outer join problems
    on files.source = problems.source
