{{ config(materialized='view') }}

select
    message_id,
    delivery_id,
    recipient_id,
    {{ mail_domain_of('address') }} as mail_domain,
    status,
    failure_reason,
    event_at,
    content_format,
    is_seed,
    is_control,
    ingested_at,
    source_file,
    line_number as source_line
from {{ ref('int_messages__current') }}
