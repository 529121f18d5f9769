select
    {{ trimmed('tag_id') }} as tag_id,
    -- 0: the extract names no URL for it.
    coalesce(url_id, 0) as url_id,
    label,
    coalesce(url_type, 4) as url_type,
    folder,
    extra,
    row_hash,
    file_modified_at,
    source_file,
    line_number,
    ingested_at,
    batch_id
from {{ source('landed', 'web_tags') }}
