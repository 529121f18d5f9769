{{ config(materialized='view') }}

with

events as (
    select * from {{ ref('fct_tracking_events') }}
    where not is_anonymous
),

tracked_urls as (
    select * from {{ ref('dim_tracked_urls') }}
),

recipients as (
    select * from {{ ref('dim_recipients') }}
),

url_types as (
    select * from {{ ref('url_types') }}
)

select
    events.delivery_id,
    events.occurred_at,
    tracked_urls.label,
    {{ filled_url('tracked_urls.source_url', 'events.params') }} as url,
    coalesce(url_types.url_type_label, 'Unknown') as url_type_label,
    events.recipient_id,
    recipients.recipient_label,
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
left join recipients
    on events.recipient_id = recipients.recipient_id
left join url_types
    on events.url_type = url_types.url_type
