select
    url_id,
    delivery_id,
    label,
    source_url,
    category,
    url_type,
    link_position,
    nullif({{ lowered(trimmed('tracking_mode')) }}, '') as tracking_mode,
    extra,
    row_hash,
    file_modified_at,
    source_file,
    line_number,
    ingested_at,
    batch_id
from {{ source('landed', 'tracked_urls') }}
