with

parsed as (
    select * from {{ ref('int_user_agents__judged') }}
),

events as (
    select user_agent_key from {{ ref('fct_tracking_events') }}
),

esp_events as (
    select user_agent_key from {{ ref('fct_esp_events') }}
),

members as (
    select user_agent_key from parsed
    union
    select user_agent_key from events
    union
    select user_agent_key from esp_events
)

select
    members.user_agent_key,
    parsed.user_agent,
    coalesce(parsed.device_class, 'unknown') as device_class,
    parsed.os_name,
    parsed.os_version,
    parsed.browser_name,
    parsed.browser_version,
    parsed.mail_client_name,
    parsed.mail_client_version,
    parsed.crawler_name,
    parsed.parser_version,
    parsed.mail_proxy,
    parsed.machine_rule,
    parsed.machine_confidence,
    parsed.user_agent_key is null as is_unknown
from members
left join parsed
    on members.user_agent_key = parsed.user_agent_key
