select
    recipient_id,
    {{ lowered(trimmed('purpose')) }} as purpose,
    granted_at,
    withdrawn_at,
    extra,
    row_hash,
    file_modified_at,
    source_file,
    line_number,
    ingested_at,
    batch_id
from {{ source('landed', 'consents') }}
