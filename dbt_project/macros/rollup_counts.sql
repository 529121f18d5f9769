{# What one roll-up counts: the CTE <rollup>_counts, with those that it needs before it. Goes on after the CTEs
   indicators, activity and visitor_days of rpt_tracking_rollups. rollup: delivery, campaign, day, week, month, all. #}
{% macro rollup_counts(rollup) -%}
{%- set is_period = rollup in ('day', 'week', 'month') -%}
{%- set period = rollup if is_period else 'total' -%}
{%- set column = {'delivery': 'delivery_id', 'campaign': 'campaign_label'}.get(rollup) -%}
{%- set column = rollup ~ '_on' if is_period else column -%}
{#- Never NULL, so that what is counted apart finds together. -#}
{%- set key = {
    'delivery': 'cast(delivery_id as string)', 'campaign': "coalesce(campaign_label, '')", 'all': "'all'",
}.get(rollup, 'cast(' ~ (column or '') ~ ' as string)') -%}
{%- set activity_key = key | replace(rollup ~ '_on', 'period_on') if is_period else key -%}
{%- set activity_column = 'period_on' if is_period else column -%}
{{ rollup }}_visitors as (
    select
        {{ key }} as rollup_key,
        cast(count(*) as bigint) as person_click_count,
        cast(count(*) filter (where has_human_click) as bigint) as human_person_click_count
    from (
        select
            {{ column ~ ',' if column else '' }}
            person_key,
            bool_or(has_human_click) as has_human_click
        from visitor_days
        {{ 'where ' ~ column ~ ' is not null' if is_period else '' }}
        group by {{ column ~ ', ' if column else '' }}person_key
    ) as visitors
    group by {{ column or '1' }}
),

{{ rollup }}_activity as (
    select
        {{ activity_key }} as rollup_key,
        {{ 'period_on' if is_period else 'cast(null as date)' }} as period_on
        {%- for sum in activity_sums() %},
        cast(sum({{ sum }}) as bigint) as {{ sum }}
        {%- endfor %}
        {%- for sum in event_sums() if is_period %},
        -- What was frozen by a purge may be older than the column: see below.
        case when count({{ sum }}) = count(*) then {{ summed(sum) }} end as {{ sum }}
        {%- endfor %},
        -- Each delivery has one row in a period.
        cast(count(*) as bigint) as delivery_count
    from activity
    where period = '{{ period }}'
    group by {{ activity_column or '1' }}
),

{% if not is_period -%}
-- A set of deliveries has messages, whether or not anything was opened.
{{ rollup }}_messages as (
    select
        {{ key }} as rollup_key,
        {{ 'delivery_id' if rollup == 'delivery' else 'cast(null as bigint)' }} as delivery_id,
        {{ 'campaign_label' if rollup == 'campaign' else 'cast(null as string)' }} as campaign_label
        {%- for sum in rollup_sums() %},
        -- Not known of one, it is not known of all: what was frozen by a purge may be older than the column.
        case when count({{ sum }}) = count(*) then {{ summed(sum) }} end as {{ sum }}
        {%- endfor %}
    from indicators
    group by {{ column or '1' }}
),

{% endif -%}
{{ rollup }}_counts as (
    select
        '{{ rollup }}' as rollup,
        {{ 'activity' if is_period else 'messages' }}.rollup_key,
        {{ 'cast(null as bigint)' if is_period else 'messages.delivery_id' }} as delivery_id,
        {{ 'cast(null as string)' if is_period else 'messages.campaign_label' }} as campaign_label,
        activity.period_on,
        coalesce(activity.delivery_count, 0) as delivery_count,
        {% for sum in rollup_sums() -%}
        {%- set in_period = 'activity.' ~ sum if sum in event_sums() else 'cast(null as bigint)' -%}
        {{ in_period if is_period else 'messages.' ~ sum }} as {{ sum }},
        {% endfor -%}
        {% for sum in activity_sums() -%}
        coalesce(activity.{{ sum }}, 0) as {{ sum }},
        {% endfor -%}
        coalesce(visitors.person_click_count, 0) as person_click_count,
        coalesce(visitors.human_person_click_count, 0) as human_person_click_count
    {% if is_period -%}
    from {{ rollup }}_activity as activity
    {%- else -%}
    from {{ rollup }}_messages as messages
    -- It is grouped by what the key is made of, so that nothing fans out.
    left join {{ rollup }}_activity as activity
        on messages.rollup_key = activity.rollup_key
    {%- endif %}
    -- It has one row for a key: no campaign is labelled '', so nothing fans out.
    left join {{ rollup }}_visitors as visitors
        on {{ 'activity' if is_period else 'messages' }}.rollup_key = visitors.rollup_key
)
{%- endmacro %}

{# What adds up over deliveries and is summed from their indicators; but for event_sums, it is of no period. #}
{% macro rollup_sums() -%}
    {{ return(tracking_sums() | reject('in', activity_sums()) | list) }}
{%- endmacro %}

{# What of a message's tracking is counted for periods too. #}
{% macro activity_sums() -%}
    {%- set names = [] -%}
    {%- for form in ['', 'human_'] -%}
        {%- for name in [
            'recipient_open_count', 'recipient_click_count', 'total_open_count', 'total_click_count',
            'opt_out_click_count', 'mirror_page_click_count',
        ] -%}
            {%- do names.append(form ~ name) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(names) }}
{%- endmacro %}
