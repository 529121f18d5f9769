select
    {{ lowered(trimmed('domain')) }} as domain,
    domain_label,
    extra,
    row_hash,
    file_modified_at,
    source_file,
    line_number,
    ingested_at,
    batch_id
from {{ source('landed', 'mail_domains') }}
