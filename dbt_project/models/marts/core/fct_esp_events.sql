{{ config(materialized='view') }}

select
    events.event_key,
    events.provider,
    events.event_kind,
    events.event_type,
    events.provider_message_id,
    events.occurred_at,
    events.time_flag,
    events.message_id,
    events.delivery_id,
    events.recipient_id,
    events.resolution,
    events.url_id,
    events.url,
    events.user_agent_key,
    events.is_provider_machine,
    events.bounce_kind,
    events.bounce_text,
    reconciled.is_counted,
    reconciled.matched_event_key,
    events.ingested_at,
    events.source_file,
    events.source_line
from {{ ref('int_esp_events__resolved') }} as events
left join {{ ref('int_tracking_events__reconciled') }} as reconciled
    on events.event_key = reconciled.event_key
