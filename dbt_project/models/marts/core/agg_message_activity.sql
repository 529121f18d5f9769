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
        is_machine,
        amount,
        article_count
    from {{ ref('fct_tracking_events') }}
    where {{ in_scope() }}
),

network_links as (
    {{ network_links(ref('dim_tracked_urls')) }}
),

linked_events as (
    select
        events.*,
        network_links.network
    from events
    left join network_links
        on events.delivery_id = network_links.delivery_id
            and events.url_id = network_links.url_id
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
        count(*) filter (where url_type = 6 and not is_machine) as human_mirror_page_count,
        {{ web_counts('') }},
        {{ web_counts('human_', 'and not is_machine') }},
        {{ share_counts() }}
    from linked_events
    group by delivery_id, event_on
),

-- One row per message and day first, of flags alone: there are as many groups as messages and days, and what
-- is kept of each decides how much memory a build takes.
message_days as (
    select
        delivery_id,
        event_on,
        message_id,
        bool_or(url_type = 1) as has_click,
        bool_or(not is_machine) as has_human_event,
        bool_or(url_type = 1 and not is_machine) as has_human_click
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
        {% for name in event_sums() -%}
        coalesce({{ summed(name) }}, 0) as {{ name }},
        {% endfor -%}
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
        {% if period == 'day' -%}
        has_click,
        has_human_event,
        has_human_click
        {%- else -%}
        bool_or(has_click) as has_click,
        bool_or(has_human_event) as has_human_event,
        bool_or(has_human_click) as has_human_click
        {%- endif %}
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
        count(*) as recipient_open_count,
        count(*) filter (where has_click) as recipient_click_count,
        count(*) filter (where has_human_event) as human_recipient_open_count,
        count(*) filter (where has_human_click) as human_recipient_click_count
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
    {% for name in event_sums() -%}
    totals.{{ name }},
    {% endfor -%}
    totals.human_mirror_page_click_count
from totals
left join distinct_counts
    on totals.delivery_id = distinct_counts.delivery_id
        and totals.period = distinct_counts.period
        and totals.period_on is not distinct from distinct_counts.period_on
