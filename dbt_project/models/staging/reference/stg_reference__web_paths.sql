select
    path_label,
    step_number,
    url_id,
    nullif({{ trimmed('traffic_source') }}, '') as traffic_source,
    extra,
    row_hash,
    file_modified_at,
    source_file,
    line_number,
    ingested_at,
    batch_id
from {{ source('landed', 'web_paths') }}
