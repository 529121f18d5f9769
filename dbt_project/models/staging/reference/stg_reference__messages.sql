select
    message_id,
    delivery_id,
    recipient_id,
    address,
    status,
    failure_reason,
    event_at,
    {{ lowered('content_format') }} as content_format,
    coalesce(is_seed, false) as is_seed,
    coalesce(is_control, false) as is_control,
    extra,
    row_hash,
    file_modified_at,
    source_file,
    line_number,
    ingested_at,
    batch_id
from {{ source('landed', 'messages') }}
