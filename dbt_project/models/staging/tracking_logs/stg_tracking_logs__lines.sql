select
    md5({{ tracking_line() }}) as event_key,
    server,
    pointer,
    occurred_at,
    time_flag,
    message_id,
    delivery_id,
    url_id,
    nullif({{ hex_to_bigint('forced_delivery_id') }}, 0) as forced_delivery_id,
    nullif(visitor_id, '') as visitor_id,
    {{ lowered('substr(content_kind, 1, 1)') }} as content_kind,
    nullif(params, '') as params,
    coalesce(user_agent, '') as user_agent,
    -- Not md5(coalesce(…)): only of the column as it is does DuckDB make one digest for each distinct text.
    coalesce(md5(user_agent), md5('')) as user_agent_key,
    -- The address may carry the forwarded-for chain after a comma instead of in a field of its own.
    nullif({{ trimmed("split_part(ip, ',', 1)") }}, '') as ip_address,
    coalesce(nullif(forwarded_for, ''), nullif({{ trimmed("substr(ip, instr(ip || ',', ',') + 1)") }}, ''))
        as forwarded_for,
    ingested_at,
    source_file,
    line_number as source_line,
    batch_id
from {{ source('landed', 'tracking_logs') }}
