-- Browsers or operating systems ($kind) of people who clicked, over $days (0: all): each name (version NULL), and each of
-- its versions. Visitors are distinct persons of the whole period: those whose last click was on one of its days.
with

software as (
    select
        clicked_on,
        browser_name as name,
        browser_version as version,
        if($human, human_page_count, page_count) as page_count,
        if($human, human_last_visitor_count, last_visitor_count) as visitor_count,
        if($human, human_name_last_visitor_count, name_last_visitor_count) as name_visitor_count,
        if($human, human_all_last_visitor_count, all_last_visitor_count) as all_visitor_count
    from reports.rpt_browsers
    where $kind = 'browsers'
    union all
    select
        clicked_on,
        os_name,
        os_version,
        if($human, human_page_count, page_count),
        if($human, human_last_visitor_count, last_visitor_count),
        if($human, human_name_last_visitor_count, name_last_visitor_count),
        if($human, human_all_last_visitor_count, all_last_visitor_count)
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

-- What stands in every row of a day is taken once.
everybody as (
    select sum(visitor_count) as visitor_count
    from (select clicked_on, max(all_visitor_count) as visitor_count from usage group by clicked_on)
),

names as (
    select name, sum(visitor_count) as visitor_count, sum(page_count) as page_count
    from (
        select clicked_on, name, max(name_visitor_count) as visitor_count, sum(page_count) as page_count
        from usage
        group by clicked_on, name
    )
    group by name
),

versions as (
    select name, version, sum(visitor_count) as visitor_count, sum(page_count) as page_count
    from usage
    group by name, version
),

levels as (
    select name, null as version, visitor_count, visitor_count as name_visitor_count, page_count from names
    union all
    select versions.name, versions.version, versions.visitor_count, names.visitor_count, versions.page_count
    from versions
    inner join names
        on versions.name = names.name
)

select
    levels.name,
    levels.version,
    cast(levels.visitor_count as bigint) as visitor_count,
    levels.visitor_count / nullif(everybody.visitor_count, 0) as usage_rate,
    levels.visitor_count / nullif(levels.name_visitor_count, 0) as version_usage_rate,
    cast(levels.page_count as bigint) as page_count
from levels
cross join everybody
where levels.page_count > 0
order by visitor_count desc, page_count desc, levels.name, levels.version
