{{ config(materialized='view') }}

select
    event_key,
    source,
    server,
    occurred_at,
    message_id,
    delivery_id,
    url_id,
    url_type,
    recipient_id,
    visitor_id,
    content_kind,
    params,
    device_class,
    os_name,
    os_version,
    browser_name,
    browser_version,
    user_agent_key,
    mail_proxy,
    is_machine,
    machine_rule,
    machine_confidence,
    ruleset_version,
    time_flag,
    is_in_time_range,
    is_pointer_conflict,
    ingested_at,
    source_file,
    source_line
from {{ ref('fct_tracking_events') }}
where url_type = 6
