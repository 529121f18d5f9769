select
    recipient_id,
    email,
    first_name,
    last_name,
    time_zone,
    language,
    created_at,
    coalesce(is_denylisted, false) as is_denylisted,
    extra,
    row_hash,
    file_modified_at,
    source_file,
    line_number,
    ingested_at,
    batch_id
from {{ source('landed', 'recipients') }}
