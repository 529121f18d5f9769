{# Visitors, pages and usage rates of browsers or operating systems. Goes on after the CTE `clicks`
   (clicked_on, name, version, person_key, page_count, human_page_count) and ends the query. #}
{% macro software_usage(name, version) -%}
visits as (
    select
        clicked_on,
        {{ name }},
        {{ version }},
        person_key,
        sum(page_count) as page_count,
        sum(human_page_count) as human_page_count
    from clicks
    group by clicked_on, {{ name }}, {{ version }}, person_key
),

versions as (
    select
        clicked_on,
        {{ name }},
        {{ version }},
        {{ software_visitors() }},
        cast(sum(page_count) as bigint) as page_count,
        cast(sum(human_page_count) as bigint) as human_page_count
    from visits
    group by clicked_on, {{ name }}, {{ version }}
),

-- A recipient who used two versions is one visitor of the name, and one of the day. A row for each first: far cheaper than
-- distinct counts.
name_visits as (
    select
        clicked_on,
        {{ name }},
        person_key,
        max(human_page_count) as human_page_count
    from visits
    group by clicked_on, {{ name }}, person_key
),

names as (
    select
        clicked_on,
        {{ name }},
        {{ software_visitors() }}
    from name_visits
    group by clicked_on, {{ name }}
),

day_visits as (
    select
        clicked_on,
        person_key,
        max(human_page_count) as human_page_count
    from name_visits
    group by clicked_on, person_key
),

days as (
    select
        clicked_on,
        {{ software_visitors() }}
    from day_visits
    group by clicked_on
),

best_days as (
    select
        {{ name }},
        {{ version }},
        max(visitor_count) as visitor_count,
        max(human_visitor_count) as human_visitor_count
    from versions
    group by {{ name }}, {{ version }}
),

-- Visitors of several days do not add up; those whose last click was on each of them do. Known persons only.
version_persons as (
    select
        {{ name }},
        {{ version }},
        person_key,
        max(clicked_on) as last_on,
        max(case when human_page_count > 0 then clicked_on end) as human_last_on
    from visits
    where person_key is not null
    group by {{ name }}, {{ version }}, person_key
),

name_persons as (
    select
        {{ name }},
        person_key,
        max(last_on) as last_on,
        max(human_last_on) as human_last_on
    from version_persons
    group by {{ name }}, person_key
),

all_persons as (
    select
        person_key,
        max(last_on) as last_on,
        max(human_last_on) as human_last_on
    from name_persons
    group by person_key
),

version_last as (
    {{ software_last_visitors('version_persons', name ~ ', ' ~ version ~ ', ') }}
),

name_last as (
    {{ software_last_visitors('name_persons', name ~ ', ') }}
),

all_last as (
    {{ software_last_visitors('all_persons', '') }}
)

select
    versions.clicked_on,
    versions.{{ name }},
    versions.{{ version }},
    versions.visitor_count,
    versions.human_visitor_count,
    versions.page_count,
    versions.human_page_count,
    {{ ratio('versions.visitor_count', 'days.visitor_count') }} as usage_rate,
    {{ ratio('versions.human_visitor_count', 'days.human_visitor_count') }} as human_usage_rate,
    {{ ratio('versions.visitor_count', 'names.visitor_count') }} as version_usage_rate,
    {{ ratio('versions.human_visitor_count', 'names.human_visitor_count') }} as human_version_usage_rate,
    {{ ratio('versions.visitor_count', 'best_days.visitor_count') }} as best_day_rate,
    {{ ratio('versions.human_visitor_count', 'best_days.human_visitor_count') }} as human_best_day_rate,
    coalesce(version_last.visitor_count, 0) as last_visitor_count,
    coalesce(version_last.human_visitor_count, 0) as human_last_visitor_count,
    coalesce(name_last.visitor_count, 0) as name_last_visitor_count,
    coalesce(name_last.human_visitor_count, 0) as human_name_last_visitor_count,
    coalesce(all_last.visitor_count, 0) as all_last_visitor_count,
    coalesce(all_last.human_visitor_count, 0) as human_all_last_visitor_count
from versions
inner join days
    on versions.clicked_on = days.clicked_on
inner join names
    on versions.clicked_on = names.clicked_on
        and versions.{{ name }} = names.{{ name }}
inner join best_days
    on versions.{{ name }} = best_days.{{ name }}
        and versions.{{ version }} = best_days.{{ version }}
left join version_last
    on versions.clicked_on = version_last.clicked_on
        and versions.{{ name }} = version_last.{{ name }}
        and versions.{{ version }} = version_last.{{ version }}
left join name_last
    on versions.clicked_on = name_last.clicked_on
        and versions.{{ name }} = name_last.{{ name }}
left join all_last
    on versions.clicked_on = all_last.clicked_on
{%- endmacro %}

{# How many persons clicked last on each day, and how many did so as people. keys: what is counted apart. #}
{% macro software_last_visitors(persons, keys) -%}
    select
        {{ keys }}clicked_on,
        cast(sum(visitor_count) as bigint) as visitor_count,
        cast(sum(human_visitor_count) as bigint) as human_visitor_count
    from (
        select
            {{ keys }}last_on as clicked_on,
            count(*) as visitor_count,
            0 as human_visitor_count
        from {{ persons }}
        group by {{ keys }}last_on
        union all
        select
            {{ keys }}human_last_on as clicked_on,
            0 as visitor_count,
            count(*) as human_visitor_count
        from {{ persons }}
        where human_last_on is not null
        group by {{ keys }}human_last_on
    ) as counted
    group by {{ keys }}clicked_on
{%- endmacro %}

{# Recipients, each of whom has one row; whoever is not known (NULL) is no visitor. #}
{% macro software_visitors() -%}
    cast(count(person_key) as bigint) as visitor_count,
        cast(count(person_key) filter (where human_page_count > 0) as bigint) as human_visitor_count
{%- endmacro %}
