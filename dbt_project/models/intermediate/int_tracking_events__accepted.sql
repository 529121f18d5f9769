-- What any source says of an event, in one shape: a source that joins gets a branch, nothing above changes.
select
    event_key,
    'tracking_log' as source,
    server,
    pointer,
    occurred_at,
    time_flag,
    message_id,
    delivery_id as logged_delivery_id,
    url_id,
    forced_delivery_id,
    visitor_id,
    content_kind,
    params,
    -- Cheap first: few lines have one.
    case when params ilike '%tagid=%' then {{ query_parameter('params', 'tagid') }} end as tag,
    false as is_opted_out,
    cast(null as boolean) as has_session,
    cast(null as varchar) as request_method,
    user_agent_key,
    ip_address,
    ingested_at,
    source_file,
    source_line,
    batch_id
from {{ ref('stg_tracking_logs__lines') }}
union all
select
    event_key,
    'access_log' as source,
    -- A line of a web server carries no pointer: what is missing cannot be proved.
    cast(null as varchar) as server,
    cast(null as bigint) as pointer,
    occurred_at,
    time_flag,
    message_id,
    delivery_id as logged_delivery_id,
    url_id,
    forced_delivery_id,
    visitor_id,
    content_kind,
    params,
    tag,
    is_opted_out,
    has_session,
    request_method,
    user_agent_key,
    ip_address,
    ingested_at,
    source_file,
    source_line,
    batch_id
from {{ ref('stg_access_logs__requests') }}
