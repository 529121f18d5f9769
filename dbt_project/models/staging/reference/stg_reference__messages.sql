select
    message_id,
    delivery_id,
    recipient_id,
    address,
    {{ mail_domain_of('address') }} as mail_domain,
    status,
    failure_reason,
    event_at,
    -- As of events (log_ingest/formats/line_format.py).
    case
        when event_at < timestamp '2000-01-01' then 'far_past'
        when event_at > ingested_at + interval 1 day then 'far_future'
    end as time_flag,
    {{ lowered(trimmed('content_format')) }} as content_format,
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
