-- Visitors of each day relative to the best day of all, for the $top versions of browsers or operating systems ($kind)
-- with most visitors over $days (0: all).
with

software as (
    select
        clicked_on,
        browser_name as name,
        browser_version as version,
        if($human, human_last_visitor_count, last_visitor_count) as visitor_count,
        if($human, human_best_day_rate, best_day_rate) as best_day_rate
    from reports.rpt_browsers
    where $kind = 'browsers'
    union all
    select
        clicked_on,
        os_name,
        os_version,
        if($human, human_last_visitor_count, last_visitor_count),
        if($human, human_best_day_rate, best_day_rate)
    from reports.rpt_operating_systems
    where $kind = 'systems'
),

newest as (
    select max(clicked_on) as clicked_on from software
),

usage as (
    select software.*
    from software
    cross join newest
    where $days = 0 or software.clicked_on > newest.clicked_on - to_days($days)
),

ranked as (
    select
        name,
        version,
        row_number() over (order by sum(visitor_count) desc, name, version) as position
    from usage
    group by name, version
    having sum(visitor_count) > 0
)

select ranked.position, ranked.name, ranked.version, usage.clicked_on, usage.best_day_rate
from ranked
inner join usage
    on ranked.name = usage.name
        and ranked.version = usage.version
where ranked.position <= $top
order by ranked.position, usage.clicked_on
