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
        coalesce({{ is_delivered() }}, false) as is_delivered
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
    {{ network_links(ref('dim_tracked_urls'), in_part('delivery_id', ref('fct_tracking_events'))) }}
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
        coalesce(messages.is_delivered, false) as is_delivered,
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

message_counts as (
    select
        delivery_id,
        mail_domain,
        cast(count(*) filter (where status <> 0) as bigint) as to_deliver_count,
        cast(count(*) filter (where status <> 0 and content_format = 'text') as bigint)
            as text_to_deliver_count,
        cast(count(*) filter (where is_delivered) as bigint) as success_count,
        cast(count(*) filter (where status = 2) as bigint) as error_count,
        cast(count(*) filter (where status = 2 and failure_reason = 8) as bigint) as complaint_count
    from messages
    group by delivery_id, mail_domain
),

event_counts as (
    select
        delivery_id,
        mail_domain,
        cast(count(*) filter (where url_id = 1) as bigint) as total_open_count,
        cast(count(*) filter (where url_id = 1 and not is_machine) as bigint) as human_total_open_count,
        cast(count(*) filter (where url_id = 1 and is_delivered) as bigint) as delivered_total_open_count,
        cast(count(*) filter (where url_id = 1 and is_delivered and not is_machine) as bigint)
            as human_delivered_total_open_count,
        cast(count(*) filter (where url_type = 3) as bigint) as opt_out_click_count,
        cast(count(*) filter (where url_type = 3 and not is_machine) as bigint) as human_opt_out_click_count,
        cast(count(*) filter (where url_type = 6) as bigint) as mirror_page_click_count,
        cast(count(*) filter (where url_type = 6 and not is_machine) as bigint)
            as human_mirror_page_click_count,
        cast(count(*) filter (where url_type = 1) as bigint) as total_click_count,
        cast(count(*) filter (where url_type = 1 and not is_machine) as bigint) as human_total_click_count,
        {{ web_counts('') }},
        {{ web_counts('human_', 'and not is_machine') }},
        {{ share_counts() }}
    from events
    group by delivery_id, mail_domain
),

-- One row per message first: far cheaper than several distinct counts over all events.
active_messages as (
    select
        delivery_id,
        mail_domain,
        message_id,
        bool_or(is_delivered) as is_delivered,
        bool_or(url_type = 1) as has_click,
        bool_or(not is_machine) as has_human_event,
        bool_or(url_type = 1 and not is_machine) as has_human_click
    from events
    where {{ is_message_tracking() }}
        and message_id <> 0
    group by delivery_id, mail_domain, message_id
),

recipient_counts as (
    select
        delivery_id,
        mail_domain,
        cast(count(*) as bigint) as recipient_open_count,
        cast(count(*) filter (where has_human_event) as bigint) as human_recipient_open_count,
        cast(count(*) filter (where is_delivered) as bigint) as delivered_recipient_open_count,
        cast(count(*) filter (where is_delivered and has_human_event) as bigint)
            as human_delivered_recipient_open_count,
        cast(count(*) filter (where has_click) as bigint) as recipient_click_count,
        cast(count(*) filter (where has_human_click) as bigint) as human_recipient_click_count
    from active_messages
    group by delivery_id, mail_domain
),

clicking_visitors as (
    select
        delivery_id,
        mail_domain,
        visitor_id,
        bool_or(not is_machine) as has_human_click
    from events
    where url_type = 1
        and visitor_id <> ''
    group by delivery_id, mail_domain, visitor_id
),

person_counts as (
    select
        delivery_id,
        mail_domain,
        cast(count(*) as bigint) as person_click_count,
        cast(count(*) filter (where has_human_click) as bigint) as human_person_click_count
    from clicking_visitors
    group by delivery_id, mail_domain
),

counts as (
    select
        members.delivery_id,
        members.mail_domain,
        members.domain_label,
        {% for name in tracking_sums() -%}
        coalesce({{ name }}, 0) as {{ name }},
        {% endfor -%}
        coalesce(person_click_count, 0) as person_click_count,
        coalesce(human_person_click_count, 0) as human_person_click_count
    from members
    {% for counted in ['message_counts', 'event_counts', 'recipient_counts', 'person_counts'] -%}
    left join {{ counted }}
        on members.delivery_id = {{ counted }}.delivery_id
            and members.mail_domain = {{ counted }}.mail_domain
    {% endfor -%}
),

{{ tracking_indicators(['delivery_id', 'mail_domain', 'domain_label']) }}
