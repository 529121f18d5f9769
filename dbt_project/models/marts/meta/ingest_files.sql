select
    source,
    file_id,
    source_file,
    lines_count as line_count,
    accepted_count,
    duplicate_count,
    quarantined_count,
    blank_count,
    not_tracking_count,
    suppressed_count,
    purged_count,
    {{ ratio('quarantined_count', 'lines_count') }} as quarantine_rate,
    content_bytes,
    held_bytes,
    copy_count,
    first_seen_at
from {{ source('landed', 'ledger_files') }}
