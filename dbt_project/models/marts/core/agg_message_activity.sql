{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
        meta={'retention': 'statistics'},
    )
}}

{%- set periods = {
    'total': 'cast(null as date)',
    'day': 'event_on',
    'week': "cast(date_trunc('week', event_on) as date)",
    'month': "cast(date_trunc('month', event_on) as date)",
} %}

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

day_totals as (
    select
        delivery_id,
        event_on,
        count(*) filter (where url_id = 1) as open_count,
        count(*) filter (where url_id = 1 and not is_machine) as human_open_count,
        count(*) filter (where url_type = 1) as click_count,
        count(*) filter (where url_type = 1 and not is_machine) as human_click_count,
        count(*) filter (where url_type = 3) as opt_out_count,
        count(*) filter (where url_type = 3 and not is_machine) as human_opt_out_count,
        count(*) filter (where url_type = 6) as mirror_page_count,
        count(*) filter (where url_type = 6 and not is_machine) as human_mirror_page_count
    from events
    group by delivery_id, event_on
),

-- What a message did on a day, of what is counted: 1 anything, 2 a click, 4 anything by a human, 8 a click by
-- one. A small number, since there are as many groups as messages and days: they decide how much memory a
-- build takes.
message_days as (
    select
        delivery_id,
        event_on,
        message_id,
        bit_or(cast(
            case when {{ is_message_tracking() }} then 1 else 0 end
            + case when url_type = 1 then 2 else 0 end
            + case when {{ is_message_tracking() }} and not is_machine then 4 else 0 end
            + case when url_type = 1 and not is_machine then 8 else 0 end
            as smallint
        )) as acts
    from events
    where message_id <> 0
        and {{ is_message_tracking() }}
    group by delivery_id, event_on, message_id
),

totals as (
    {%- for period, period_on in periods.items() %}
    select
        delivery_id,
        '{{ period }}' as period,
        {{ period_on }} as period_on,
        cast(sum(open_count) as bigint) as total_open_count,
        cast(sum(click_count) as bigint) as total_click_count,
        cast(sum(opt_out_count) as bigint) as opt_out_click_count,
        cast(sum(mirror_page_count) as bigint) as mirror_page_click_count,
        cast(sum(human_open_count) as bigint) as human_total_open_count,
        cast(sum(human_click_count) as bigint) as human_total_click_count,
        cast(sum(human_opt_out_count) as bigint) as human_opt_out_click_count,
        cast(sum(human_mirror_page_count) as bigint) as human_mirror_page_click_count
    from day_totals
    {{ 'where event_on is not null' if period != 'total' }}
    group by delivery_id{{ ', ' ~ period_on if period != 'total' }}
    {{ 'union all' if not loop.last }}
    {%- endfor %}
),

messages as (
    {%- for period, period_on in periods.items() %}
    select
        delivery_id,
        '{{ period }}' as period,
        {{ period_on }} as period_on,
        {{ 'acts' if period == 'day' else 'bit_or(acts) as acts' }}
    from message_days
    {{ 'where event_on is not null' if period != 'total' }}
    {%- if period != 'day' %}
    group by delivery_id, message_id{{ ', ' ~ period_on if period != 'total' }}
    {%- endif %}
    {{ 'union all' if not loop.last }}
    {%- endfor %}
),

distinct_counts as (
    select
        delivery_id,
        period,
        period_on,
        count(*) filter (where acts & 1 > 0) as recipient_open_count,
        count(*) filter (where acts & 2 > 0) as recipient_click_count,
        count(*) filter (where acts & 4 > 0) as human_recipient_open_count,
        count(*) filter (where acts & 8 > 0) as human_recipient_click_count
    from messages
    group by delivery_id, period, period_on
)

select
    totals.delivery_id,
    totals.period,
    coalesce(cast(totals.period_on as string), '') as period_key,
    totals.period_on,
    cast(coalesce(distinct_counts.recipient_open_count, 0) as bigint) as recipient_open_count,
    cast(coalesce(distinct_counts.recipient_click_count, 0) as bigint) as recipient_click_count,
    totals.total_open_count,
    totals.total_click_count,
    totals.opt_out_click_count,
    totals.mirror_page_click_count,
    cast(coalesce(distinct_counts.human_recipient_open_count, 0) as bigint) as human_recipient_open_count,
    cast(coalesce(distinct_counts.human_recipient_click_count, 0) as bigint) as human_recipient_click_count,
    totals.human_total_open_count,
    totals.human_total_click_count,
    totals.human_opt_out_click_count,
    totals.human_mirror_page_click_count
from totals
left join distinct_counts
    on totals.delivery_id = distinct_counts.delivery_id
        and totals.period = distinct_counts.period
        and totals.period_on is not distinct from distinct_counts.period_on
