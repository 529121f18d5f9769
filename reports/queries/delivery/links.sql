-- Clicks per link: $by label, url or category, in the first $hours after sending (NULL: since launch), the first $top
-- and one line of all others. Same name, same line. The whole period counts events without a believable time too.
with

delivery as (
    select sent_at from core.dim_deliveries where delivery_id = $delivery_id
),

-- The delivery's own link goes before one that serves every delivery.
links as (
    select
        url_id,
        -- A line where nobody clicked it, too: not what only a provider told of, and our own logs hold.
        delivery_id <> 0 and not is_unknown and url_id <> 4503599627370495 as is_own,
        coalesce(
            case $by
                when 'label' then nullif(trim(label), '')
                when 'url' then nullif(trim(source_url), '')
                when 'category' then nullif(trim(category), '')
            end,
            case when $by <> 'category' then 'link ' || url_id end,
            ''
        ) as line
    from core.dim_tracked_urls
    where delivery_id in ($delivery_id, 0)
        and url_id <> 1
    qualify row_number() over (partition by url_id order by delivery_id <> 0 desc) = 1
),

clicks as (
    select
        event.url_id,
        count(*) filter (where not $human or not event.is_machine) as click_count
    from core.fct_tracking_events as event
    cross join delivery
    where event.delivery_id = $delivery_id
        and event.url_id <> 1
        and (
            $hours is null
            or (event.is_in_time_range and event.occurred_at < delivery.sent_at + to_hours($hours))
        )
    group by event.url_id
),

lines as (
    select
        coalesce(links.line, 'link ' || clicks.url_id) as line,
        cast(sum(coalesce(clicks.click_count, 0)) as bigint) as click_count
    from links
    full join clicks
        on links.url_id = clicks.url_id
    where links.is_own or clicks.click_count > 0
    group by all
),

ranked as (
    select
        line,
        click_count,
        row_number() over (order by click_count desc, line) as position,
        sum(click_count) over () as total_count
    from lines
)

select
    least(position, $top + 1) as position,
    position > $top as is_others,
    case when position <= $top then line end as line,
    cast(sum(click_count) as bigint) as click_count,
    sum(click_count) / nullif(any_value(total_count), 0) as click_share
from ranked
group by all
order by position
