{{ config(materialized='view') }}

with

events as (
    select * from {{ ref('fct_tracking_events') }}
    where recipient_id <> 0
        -- What is left of the erased is for counting: it is nobody's profile.
        and not {{ is_erased('recipient_id') }}
),

tracked_urls as (
    select * from {{ ref('dim_tracked_urls') }}
),

deliveries as (
    select * from {{ ref('dim_deliveries') }}
),

url_types as (
    select * from {{ ref('url_types') }}
)

select
    events.recipient_id,
    events.occurred_at,
    tracked_urls.label,
    {{ filled_url('tracked_urls.source_url', 'events.params') }} as url,
    coalesce(url_types.url_type_label, 'Unknown') as url_type_label,
    events.delivery_id,
    deliveries.delivery_label,
    events.device_class,
    events.is_machine,
    events.machine_rule,
    events.message_id,
    events.url_id,
    events.url_type,
    events.event_key
from events
left join tracked_urls
    on events.delivery_id = tracked_urls.delivery_id
        and events.url_id = tracked_urls.url_id
left join deliveries
    on events.delivery_id = deliveries.delivery_id
left join url_types
    on events.url_type = url_types.url_type
