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

-- A recipient who used two versions is one visitor of the name, and one of the day.
names as (
    select
        clicked_on,
        {{ name }},
        {{ software_visitors() }}
    from visits
    group by clicked_on, {{ name }}
),

days as (
    select
        clicked_on,
        {{ software_visitors() }}
    from visits
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
    {{ ratio('versions.human_visitor_count', 'best_days.human_visitor_count') }} as human_best_day_rate
from versions
inner join days
    on versions.clicked_on = days.clicked_on
inner join names
    on versions.clicked_on = names.clicked_on
        and versions.{{ name }} = names.{{ name }}
inner join best_days
    on versions.{{ name }} = best_days.{{ name }}
        and versions.{{ version }} = best_days.{{ version }}
{%- endmacro %}

{# Distinct recipients; whoever is not known (NULL) is no visitor. #}
{% macro software_visitors() -%}
    cast(count(distinct person_key) as bigint) as visitor_count,
        cast(count(distinct person_key) filter (where human_page_count > 0) as bigint)
            as human_visitor_count
{%- endmacro %}
