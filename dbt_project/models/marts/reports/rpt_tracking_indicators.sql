{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
    )
}}

with

members as (
    select
        delivery_id,
        delivery_label,
        sent_at
    from {{ ref('dim_deliveries') }}
    where {{ in_scope() }}
),

messages as (
    select
        delivery_id,
        status,
        failure_reason,
        content_format,
        is_seed
    from {{ ref('fct_messages') }}
    where {{ in_scope() }}
),

network_links as (
    select
        delivery_id,
        url_id,
        {{ network_of('category') }} as network
    from {{ ref('dim_tracked_urls') }}
    where {{ in_scope() }}
        and {{ network_of('category') }} is not null
),

events as {{ inlined() }}(
    select
        tracked.delivery_id,
        tracked.message_id,
        tracked.url_id,
        tracked.url_type,
        tracked.visitor_id,
        tracked.is_machine,
        tracked.amount,
        tracked.article_count,
        network_links.network
    from {{ ref('fct_tracking_events') }} as tracked
    left join network_links
        on tracked.delivery_id = network_links.delivery_id
            and tracked.url_id = network_links.url_id
    where {{ in_scope('tracked.delivery_id') }}
),

{{ tracking_indicators(key=['delivery_id'], attributes=['delivery_label', 'sent_at']) }}
