-- Clicks per link and local day, for the $top lines of most clicks in the first $hours (NULL: since launch).
with

delivery as (
    select sent_at from core.dim_deliveries where delivery_id = $delivery_id
),

links as (
    select
        url_id,
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
        coalesce(links.line, 'link ' || event.url_id) as line,
        cast(timezone($zone, timezone('UTC', event.occurred_at)) as date) as clicked_on
    from core.fct_tracking_events as event
    cross join delivery
    left join links
        on event.url_id = links.url_id
    where event.delivery_id = $delivery_id
        and event.url_id <> 1
        and event.is_in_time_range
        and (not $human or not event.is_machine)
        and ($hours is null or event.occurred_at < delivery.sent_at + to_hours($hours))
),

ranked as (
    select
        line,
        row_number() over (order by count(*) desc, line) as position
    from clicks
    group by line
)

select
    ranked.position,
    clicks.line,
    clicks.clicked_on,
    count(*) as click_count
from clicks
inner join ranked
    on clicks.line = ranked.line
where ranked.position <= $top
group by all
order by ranked.position, clicks.clicked_on
