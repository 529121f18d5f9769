{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
    )
}}

with

messages as (
    select
        delivery_id,
        message_id,
        mail_domain,
        status,
        failure_reason,
        content_format,
        is_seed
    from {{ ref('fct_messages') }}
    where {{ in_scope() }}
        and {{ in_part('delivery_id', ref('fct_tracking_events')) }}
),

tracked as (
    select
        delivery_id,
        message_id,
        url_id,
        url_type,
        visitor_id,
        is_machine,
        amount,
        article_count
    from {{ ref('fct_tracking_events') }}
    where {{ in_scope() }}
        and {{ in_part('delivery_id', ref('fct_tracking_events')) }}
),

network_links as (
    select
        delivery_id,
        url_id,
        {{ network_of('category') }} as network
    from {{ ref('dim_tracked_urls') }}
    where {{ in_scope() }}
        and {{ in_part('delivery_id', ref('fct_tracking_events')) }}
        and {{ network_of('category') }} is not null
),

-- Not the dimension: it changes with every recipient, and each change would rebuild all deliveries.
mail_domains as (
    select
        domain,
        domain_label
    from {{ ref('int_mail_domains__current') }}
),

-- A message that is not known, or is one of another delivery, has no domain here.
events as (
    select
        tracked.delivery_id,
        coalesce(messages.mail_domain, 'unknown') as mail_domain,
        tracked.message_id,
        tracked.url_id,
        tracked.url_type,
        tracked.visitor_id,
        tracked.is_machine,
        tracked.amount,
        tracked.article_count,
        network_links.network
    from tracked
    left join messages
        on tracked.delivery_id = messages.delivery_id
            and tracked.message_id = messages.message_id
            and tracked.message_id <> 0
    left join network_links
        on tracked.delivery_id = network_links.delivery_id
            and tracked.url_id = network_links.url_id
),

used_domains as (
    select
        delivery_id,
        mail_domain
    from messages
    union
    select
        delivery_id,
        mail_domain
    from events
),

members as (
    select
        used_domains.delivery_id,
        used_domains.mail_domain,
        {{ domain_label('mail_domains.domain_label') }} as domain_label
    from used_domains
    left join mail_domains
        on used_domains.mail_domain = mail_domains.domain
),

{{ tracking_indicators(key=['delivery_id', 'mail_domain'], attributes=['domain_label']) }}
