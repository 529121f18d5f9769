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
    cast(null as bigint) as known_url_type,
    forced_delivery_id,
    visitor_id,
    content_kind,
    params,
    -- Cheap first: few lines have one.
    case when params ilike '%tagid=%' then {{ query_parameter('params', 'tagid') }} end as tag,
    false as is_opted_out,
    cast(null as boolean) as has_session,
    cast(null as string) as request_method,
    user_agent_key,
    ip_address,
    ingested_at,
    source_file,
    source_line,
    batch_id,
    cast(null as bigint) as changed_in_run
from {{ ref('stg_tracking_logs__lines') }}
union all
select
    event_key,
    'access_log' as source,
    -- A line of a web server carries no pointer: what is missing cannot be proved.
    cast(null as string) as server,
    cast(null as bigint) as pointer,
    occurred_at,
    time_flag,
    message_id,
    delivery_id as logged_delivery_id,
    url_id,
    cast(null as bigint) as known_url_type,
    forced_delivery_id,
    visitor_id,
    content_kind,
    params,
    -- Not the landed one: whatever logged it, a tag is read by one rule.
    case when hit_kind = 'web' then {{ query_parameter('params', 'tagid') }} end as tag,
    is_opted_out,
    has_session,
    request_method,
    user_agent_key,
    ip_address,
    ingested_at,
    source_file,
    source_line,
    batch_id,
    cast(null as bigint) as changed_in_run
from {{ ref('stg_access_logs__requests') }}
union all
select
    event_key,
    'esp_event' as source,
    provider as server,
    cast(null as bigint) as pointer,
    occurred_at,
    time_flag,
    message_id,
    delivery_id as logged_delivery_id,
    url_id,
    -- An unsubscription is an opt-out, whatever the way: no link of the content.
    case when event_kind = 'unsubscribe' then 3 end as known_url_type,
    cast(null as bigint) as forced_delivery_id,
    -- A provider sees no cookie: what it tells of one message counts as one person.
    case
        when message_id <> 0 then 'esp-' || cast(message_id as string)
        else 'esp-' || md5(address)
    end as visitor_id,
    cast(null as string) as content_kind,
    cast(null as string) as params,
    cast(null as string) as tag,
    false as is_opted_out,
    false as has_session,
    cast(null as string) as request_method,
    user_agent_key,
    ip_address,
    ingested_at,
    source_file,
    source_line,
    batch_id,
    changed_in_run
from {{ ref('int_esp_events__resolved') }}
where {{ is_esp_tracking() }}
