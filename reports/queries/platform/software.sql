-- Browsers or operating systems ($kind) of people who clicked, by name and version, over $days (0: all). Visitors of
-- several days cannot be added up: the clicks can.
with

usage as (
    select 'browsers' as kind, clicked_on, browser_name as name, browser_version as version,
        if($human, human_page_count, page_count) as page_count
    from reports.rpt_browsers
    union all
    select 'systems', clicked_on, os_name, os_version, if($human, human_page_count, page_count)
    from reports.rpt_operating_systems
),

newest as (
    select max(clicked_on) as clicked_on from usage where kind = $kind
)

select
    usage.name,
    usage.version,
    cast(sum(usage.page_count) as bigint) as page_count,
    sum(usage.page_count) / nullif(sum(sum(usage.page_count)) over (), 0) as page_share,
    sum(usage.page_count) / nullif(sum(sum(usage.page_count)) over (partition by usage.name), 0) as version_share
from usage
cross join newest
where usage.kind = $kind
    and ($days = 0 or usage.clicked_on > newest.clicked_on - to_days($days))
group by usage.name, usage.version
having sum(usage.page_count) > 0
order by page_count desc, usage.name, usage.version
limit 100
