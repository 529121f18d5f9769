{{ config(materialized='view') }}

with

-- Opens without consent: nothing leads to who opened.
anonymous as (
    select event_key from {{ ref('int_tracking_events__judged') }}
    where is_anonymous
)

select
    events.event_key,
    events.provider,
    events.event_kind,
    events.event_type,
    case when anonymous.event_key is null then events.provider_message_id end as provider_message_id,
    events.occurred_at,
    events.time_flag,
    case when anonymous.event_key is null then events.message_id else 0 end as message_id,
    events.delivery_id,
    case when anonymous.event_key is null then events.recipient_id else 0 end as recipient_id,
    events.resolution,
    case when {{ is_esp_tracking() }} then events.url_id end as url_id,
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
left join anonymous
    on events.event_key = anonymous.event_key
