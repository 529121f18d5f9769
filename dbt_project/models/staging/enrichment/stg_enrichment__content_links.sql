select
    delivery_id,
    html_digest,
    link_position,
    href,
    link_text,
    redirect_delivery_id,
    redirect_url_id,
    source_file,
    line_number as source_line,
    ingested_at,
    batch_id
from {{ source('landed', 'content_links') }}
