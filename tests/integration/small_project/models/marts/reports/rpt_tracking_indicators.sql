with events as (
    select * from {{ ref('fct_tracking_events') }}
)

select
    delivery_id,
    'Delivery <b>' || delivery_id || '</b>' as delivery_label,
    cast(min(occurred_at) as timestamp) as sent_at,
    count(distinct message_id) as success_count,
    count(distinct message_id) as recipient_open_count,
    count(distinct message_id) filter (url_id <> 1) as recipient_click_count,
    count(*) filter (url_id <> 1) as total_click_count,
    count(distinct message_id) filter (url_id <> 1) / nullif(count(distinct message_id), 0) as raw_reactivity,
    cast(null as double) as estimated_reactivity
from events
group by delivery_id
