{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
        meta={'retention': 'statistics'},
    )
}}

with

events as (
    select
        delivery_id,
        case when is_in_time_range then {{ local_day('occurred_at') }} end as event_on,
        message_id,
        url_id,
        url_type,
        is_machine
    from {{ ref('fct_tracking_events') }}
    where {{ in_scope() }}
),

-- One row per message and day first: a distinct count then is a grouping and a sum, a tenth of the cost of
-- distinct counts side by side.
message_days as (
    select
        delivery_id,
        event_on,
        message_id,
        count(*) filter (where url_id = 1) as open_count,
        count(*) filter (where url_id = 1 and not is_machine) as human_open_count,
        count(*) filter (where url_type = 1) as click_count,
        count(*) filter (where url_type = 1 and not is_machine) as human_click_count,
        count(*) filter (where url_type = 3) as opt_out_count,
        count(*) filter (where url_type = 3 and not is_machine) as human_opt_out_count,
        count(*) filter (where url_type = 6) as mirror_page_count,
        count(*) filter (where url_type = 6 and not is_machine) as human_mirror_page_count,
        count(*) filter (where {{ is_message_tracking() }}) as tracking_count,
        count(*) filter (where {{ is_message_tracking() }} and not is_machine) as human_tracking_count
    from events
    group by delivery_id, event_on, message_id
),

placed as (
    select
        'total' as period,
        cast(null as date) as period_on,
        *
    from message_days
    {% for period in ['day', 'week', 'month'] -%}
    union all
    select
        '{{ period }}' as period,
        cast(date_trunc('{{ period }}', event_on) as date) as period_on,
        *
    from message_days
    where event_on is not null
    {% endfor -%}
),

messages as (
    select
        delivery_id,
        period,
        period_on,
        message_id,
        sum(open_count) as open_count,
        sum(click_count) as click_count,
        sum(opt_out_count) as opt_out_count,
        sum(mirror_page_count) as mirror_page_count,
        sum(tracking_count) as tracking_count,
        sum(human_open_count) as human_open_count,
        sum(human_click_count) as human_click_count,
        sum(human_opt_out_count) as human_opt_out_count,
        sum(human_mirror_page_count) as human_mirror_page_count,
        sum(human_tracking_count) as human_tracking_count
    from placed
    group by delivery_id, period, period_on, message_id
)

select
    delivery_id,
    period,
    coalesce(cast(period_on as string), '') as period_key,
    period_on,
    cast(count(*) filter (where message_id <> 0 and tracking_count > 0) as bigint) as recipient_open_count,
    cast(count(*) filter (where message_id <> 0 and click_count > 0) as bigint) as recipient_click_count,
    cast(sum(open_count) as bigint) as total_open_count,
    cast(sum(click_count) as bigint) as total_click_count,
    cast(sum(opt_out_count) as bigint) as opt_out_click_count,
    cast(sum(mirror_page_count) as bigint) as mirror_page_click_count,
    cast(count(*) filter (where message_id <> 0 and human_tracking_count > 0) as bigint)
        as human_recipient_open_count,
    cast(count(*) filter (where message_id <> 0 and human_click_count > 0) as bigint)
        as human_recipient_click_count,
    cast(sum(human_open_count) as bigint) as human_total_open_count,
    cast(sum(human_click_count) as bigint) as human_total_click_count,
    cast(sum(human_opt_out_count) as bigint) as human_opt_out_click_count,
    cast(sum(human_mirror_page_count) as bigint) as human_mirror_page_click_count
from messages
group by delivery_id, period, period_on
