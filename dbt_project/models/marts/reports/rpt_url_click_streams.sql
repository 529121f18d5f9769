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

clicks as (
    select
        delivery_id,
        url_id,
        count(*) as click_count,
        count(*) filter (where not is_machine) as human_click_count
    from {{ ref('fct_tracking_events') }}
    where {{ in_scope() }}
        and url_id <> 1
    group by delivery_id, url_id
),

named as (
    {{ link_lines('tracked_urls') }}
),

lines as (
    select
        named.delivery_id,
        named.line_url_id as url_id,
        min_by(named.label, named.url_id) as label,
        min(named.category) filter (where named.url_id = named.line_url_id) as category,
        min(named.url_type) filter (where named.url_id = named.line_url_id) as url_type,
        bool_and(named.is_unknown) as is_unknown,
        cast(coalesce(sum(clicks.click_count), 0) as bigint) as click_count,
        cast(coalesce(sum(clicks.human_click_count), 0) as bigint) as human_click_count
    from named
    left join clicks
        on named.delivery_id = clicks.delivery_id
            and named.url_id = clicks.url_id
    group by named.delivery_id, named.line_url_id
),

totals as (
    select
        delivery_id,
        cast(sum(click_count) as bigint) as click_count,
        cast(sum(human_click_count) as bigint) as human_click_count
    from lines
    group by delivery_id
)

select
    lines.delivery_id,
    lines.url_id,
    lines.label,
    lines.category,
    lines.url_type,
    lines.click_count,
    lines.human_click_count,
    {{ ratio('lines.click_count', 'totals.click_count') }} as click_share,
    {{ ratio('lines.human_click_count', 'totals.human_click_count') }} as human_click_share,
    row_number() over (
        partition by lines.delivery_id
        order by lines.click_count desc, lines.url_id asc nulls last
    ) as position,
    lines.is_unknown
from lines
inner join totals
    on lines.delivery_id = totals.delivery_id
-- Links that serve every delivery are configured for delivery 0: unclicked there, they are no news of it.
where lines.click_count > 0
    or (lines.delivery_id <> 0 and {{ stands_unclicked('lines.') }})
