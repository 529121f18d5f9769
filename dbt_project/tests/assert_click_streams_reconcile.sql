-- The lines of a delivery's click table add up to its events with any URL id but 1, where these are kept.
with

lines as (
    select
        delivery_id,
        cast(sum(click_count) as bigint) as click_count,
        sum(click_share) as click_share
    from {{ ref('rpt_url_click_streams') }}
    where delivery_id not in (select purges.delivery_id from {{ ref('purges') }} as purges)
    group by delivery_id
),

events as (
    select
        delivery_id,
        count(*) as click_count
    from {{ ref('fct_tracking_events') }}
    where url_id <> 1
        and delivery_id not in (select purges.delivery_id from {{ ref('purges') }} as purges)
    group by delivery_id
)

select
    coalesce(lines.delivery_id, events.delivery_id) as delivery_id,
    lines.click_count,
    lines.click_share,
    events.click_count as event_count
from lines
full outer join events
    on lines.delivery_id = events.delivery_id
where coalesce(lines.click_count, 0) <> coalesce(events.click_count, 0)
    or abs(lines.click_share - 1) > 0.000001
