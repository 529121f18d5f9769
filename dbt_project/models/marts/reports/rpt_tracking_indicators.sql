{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
    )
}}

with

deliveries as (
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

events as (
    select
        delivery_id,
        message_id,
        url_id,
        url_type,
        visitor_id,
        is_machine
    from {{ ref('fct_tracking_events') }}
    where {{ in_scope() }}
),

message_counts as (
    select
        delivery_id,
        cast(count(*) filter (where status <> 0) as bigint) as to_deliver_count,
        cast(count(*) filter (where status <> 0 and content_format = 'text') as bigint) as text_count,
        cast(count(*) filter (where status in (1, 3, 4) and not is_seed) as bigint) as success_count,
        cast(count(*) filter (where status = 2) as bigint) as error_count,
        cast(count(*) filter (where status = 2 and failure_reason = 8) as bigint) as complaint_count
    from messages
    group by delivery_id
),

event_counts as (
    select
        delivery_id,
        cast(count(*) filter (where url_id = 1) as bigint) as total_open_count,
        cast(count(*) filter (where url_id = 1 and not is_machine) as bigint) as human_total_open_count,
        cast(count(*) filter (where url_type = 3) as bigint) as opt_out_click_count,
        cast(count(*) filter (where url_type = 3 and not is_machine) as bigint) as human_opt_out_click_count,
        cast(count(*) filter (where url_type = 6) as bigint) as mirror_page_click_count,
        cast(count(*) filter (where url_type = 6 and not is_machine) as bigint)
            as human_mirror_page_click_count,
        cast(count(*) filter (where url_type = 1) as bigint) as total_click_count,
        cast(count(*) filter (where url_type = 1 and not is_machine) as bigint) as human_total_click_count
    from events
    group by delivery_id
),

-- One row per message first: far cheaper than several distinct counts over all events.
active_messages as (
    select
        delivery_id,
        message_id,
        bool_or(url_type = 1) as has_click,
        bool_or(not is_machine) as has_human_event,
        bool_or(url_type = 1 and not is_machine) as has_human_click
    from events
    -- Opens, and also clicks, opt-outs and mirror pages: to click is to open.
    where url_type in (1, 2, 3, 6, 11)
        and message_id <> 0
    group by delivery_id, message_id
),

recipient_counts as (
    select
        delivery_id,
        cast(count(*) as bigint) as recipient_open_count,
        cast(count(*) filter (where has_human_event) as bigint) as human_recipient_open_count,
        cast(count(*) filter (where has_click) as bigint) as recipient_click_count,
        cast(count(*) filter (where has_human_click) as bigint) as human_recipient_click_count
    from active_messages
    group by delivery_id
),

clicking_visitors as (
    select
        delivery_id,
        visitor_id,
        bool_or(not is_machine) as has_human_click
    from events
    where url_type = 1
        and visitor_id <> ''
    group by delivery_id, visitor_id
),

person_counts as (
    select
        delivery_id,
        cast(count(*) as bigint) as person_click_count,
        cast(count(*) filter (where has_human_click) as bigint) as human_person_click_count
    from clicking_visitors
    group by delivery_id
),

counts as (
    select
        deliveries.delivery_id,
        deliveries.delivery_label,
        deliveries.sent_at,
        coalesce(message_counts.to_deliver_count, 0) as to_deliver_count,
        coalesce(message_counts.to_deliver_count - message_counts.text_count, 0) as html_count,
        coalesce(message_counts.success_count, 0) as success_count,
        coalesce(message_counts.error_count, 0) as error_count,
        coalesce(message_counts.complaint_count, 0) as complaint_count,
        coalesce(recipient_counts.recipient_open_count, 0) as recipient_open_count,
        coalesce(recipient_counts.human_recipient_open_count, 0) as human_recipient_open_count,
        coalesce(event_counts.total_open_count, 0) as total_open_count,
        coalesce(event_counts.human_total_open_count, 0) as human_total_open_count,
        coalesce(event_counts.opt_out_click_count, 0) as opt_out_click_count,
        coalesce(event_counts.human_opt_out_click_count, 0) as human_opt_out_click_count,
        coalesce(event_counts.mirror_page_click_count, 0) as mirror_page_click_count,
        coalesce(event_counts.human_mirror_page_click_count, 0) as human_mirror_page_click_count,
        coalesce(recipient_counts.recipient_click_count, 0) as recipient_click_count,
        coalesce(recipient_counts.human_recipient_click_count, 0) as human_recipient_click_count,
        coalesce(person_counts.person_click_count, 0) as person_click_count,
        coalesce(person_counts.human_person_click_count, 0) as human_person_click_count,
        coalesce(event_counts.total_click_count, 0) as total_click_count,
        coalesce(event_counts.human_total_click_count, 0) as human_total_click_count
    from deliveries
    left join message_counts
        on deliveries.delivery_id = message_counts.delivery_id
    left join event_counts
        on deliveries.delivery_id = event_counts.delivery_id
    left join recipient_counts
        on deliveries.delivery_id = recipient_counts.delivery_id
    left join person_counts
        on deliveries.delivery_id = person_counts.delivery_id
),

estimated as (
    select
        delivery_id,
        {{ extrapolate('recipient_open_count', 'to_deliver_count', 'html_count') }}
            as estimated_recipient_open_count,
        {{ extrapolate('total_open_count', 'to_deliver_count', 'html_count') }} as estimated_total_open_count
    from counts
)

select
    counts.delivery_id,
    counts.delivery_label,
    counts.sent_at,
    counts.to_deliver_count,
    counts.success_count,
    counts.error_count,
    counts.recipient_open_count,
    counts.human_recipient_open_count,
    counts.total_open_count,
    counts.human_total_open_count,
    estimated.estimated_recipient_open_count,
    estimated.estimated_total_open_count,
    counts.opt_out_click_count,
    counts.human_opt_out_click_count,
    counts.mirror_page_click_count,
    counts.human_mirror_page_click_count,
    counts.recipient_click_count,
    counts.human_recipient_click_count,
    counts.person_click_count,
    counts.human_person_click_count,
    counts.total_click_count,
    counts.human_total_click_count,
    counts.person_click_count - counts.recipient_click_count as forward_estimate,
    counts.human_person_click_count - counts.human_recipient_click_count as human_forward_estimate,
    counts.complaint_count,
    {{ ratio('counts.recipient_click_count', 'counts.recipient_open_count') }} as raw_reactivity,
    {{ ratio('counts.human_recipient_click_count', 'counts.human_recipient_open_count') }}
        as human_raw_reactivity,
    {{ ratio('counts.recipient_click_count', 'estimated.estimated_recipient_open_count') }}
        as estimated_reactivity
from counts
inner join estimated
    on counts.delivery_id = estimated.delivery_id
