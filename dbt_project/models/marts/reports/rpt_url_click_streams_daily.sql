{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
    )
}}

with

tracked_urls as (
    select
        delivery_id,
        url_id,
        nullif({{ trimmed('label') }}, '') as label,
        category,
        url_type,
        is_unknown
    from {{ ref('dim_tracked_urls') }}
    where {{ in_scope() }}
        and url_id <> 1
),

lines as (
    select
        delivery_id,
        url_id,
        label,
        category,
        position
    from {{ ref('rpt_url_click_streams') }}
    where {{ in_scope() }}
),

clicks as (
    select
        delivery_id,
        url_id,
        {{ local_day('occurred_at') }} as clicked_on,
        count(*) as click_count,
        count(*) filter (where not is_machine) as human_click_count
    from {{ ref('fct_tracking_events') }}
    where {{ in_scope() }}
        and url_id <> 1
        and is_in_time_range
    group by delivery_id, url_id, {{ local_day('occurred_at') }}
),

named as (
    {{ link_lines('tracked_urls') }}
)

select
    lines.delivery_id,
    lines.url_id,
    lines.label,
    lines.category,
    clicks.clicked_on,
    cast(sum(clicks.click_count) as bigint) as click_count,
    cast(sum(clicks.human_click_count) as bigint) as human_click_count,
    lines.position
from clicks
inner join named
    on clicks.delivery_id = named.delivery_id
        and clicks.url_id = named.url_id
inner join lines
    on named.delivery_id = lines.delivery_id
        and named.line_url_id = lines.url_id
group by
    lines.delivery_id,
    lines.url_id,
    lines.label,
    lines.category,
    clicks.clicked_on,
    lines.position
