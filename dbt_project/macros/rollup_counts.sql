{# What one roll-up counts: the CTE <rollup>_counts, with those that it needs before it. Goes on after the CTEs
   message_days, visitor_days and delivery_days of rpt_tracking_rollups. rollup: delivery, campaign, day, week, month, all. #}
{% macro rollup_counts(rollup) -%}
{%- set column = {
    'delivery': 'delivery_id', 'campaign': 'campaign_label', 'day': 'day_on', 'week': 'week_on', 'month': 'month_on',
}.get(rollup) -%}
{#- Never NULL, so that what is counted apart finds together. -#}
{%- set key = {
    'delivery': 'cast(delivery_id as varchar)', 'campaign': "coalesce(campaign_label, '')", 'all': "'all'",
}.get(rollup, 'cast(' ~ (column or '') ~ ' as varchar)') -%}
{%- set is_period = rollup in ('day', 'week', 'month') -%}
{%- set in_period = 'where ' ~ column ~ ' is not null' if is_period else '' -%}
{%- set sums = ['open_count', 'click_count', 'opt_out_count', 'mirror_page_count', 'tracking_count'] -%}
{{ rollup }}_messages as (
    select
        {{ column ~ ',' if column else '' }}
        message_id
        {%- for form in ['', 'human_'] -%}
        {%- for sum in sums %},
        sum({{ form ~ sum }}) as {{ form ~ sum }}
        {%- endfor -%}
        {%- endfor %}
    from message_days
    {{ in_period }}
    group by {{ column ~ ', ' if column else '' }}message_id
),

{{ rollup }}_visitors as (
    select
        {{ key }} as rollup_key,
        cast(count(*) as bigint) as person_click_count,
        cast(count(*) filter (where has_human_click) as bigint) as human_person_click_count
    from (
        select
            {{ column ~ ',' if column else '' }}
            visitor_id,
            bool_or(has_human_click) as has_human_click
        from visitor_days
        {{ in_period }}
        group by {{ column ~ ', ' if column else '' }}visitor_id
    ) as visitors
    group by {{ column or '1' }}
),

{{ rollup }}_deliveries as (
    select
        {{ key }} as rollup_key,
        cast(count(distinct delivery_id) as bigint) as delivery_count
    from delivery_days
    {{ in_period }}
    group by {{ column or '1' }}
),

{{ rollup }}_activity as (
    select
        {{ key }} as rollup_key,
        {{ 'delivery_id' if rollup == 'delivery' else 'cast(null as bigint)' }} as delivery_id,
        {{ 'campaign_label' if rollup == 'campaign' else 'cast(null as varchar)' }} as campaign_label,
        {{ column if is_period else 'cast(null as date)' }} as period_on
        {%- for form in ['', 'human_'] %},
        cast(count(*) filter (where message_id <> 0 and {{ form }}tracking_count > 0) as bigint)
            as {{ form }}recipient_open_count,
        cast(count(*) filter (where message_id <> 0 and {{ form }}click_count > 0) as bigint)
            as {{ form }}recipient_click_count,
        cast(sum({{ form }}open_count) as bigint) as {{ form }}total_open_count,
        cast(sum({{ form }}click_count) as bigint) as {{ form }}total_click_count,
        cast(sum({{ form }}opt_out_count) as bigint) as {{ form }}opt_out_click_count,
        cast(sum({{ form }}mirror_page_count) as bigint) as {{ form }}mirror_page_click_count
        {%- endfor %}
    from {{ rollup }}_messages
    group by {{ column or '1' }}
),

{{ rollup }}_counts as (
    select
        '{{ rollup }}' as rollup,
        activity.*,
        deliveries.delivery_count,
        coalesce(visitors.person_click_count, 0) as person_click_count,
        coalesce(visitors.human_person_click_count, 0) as human_person_click_count
    from {{ rollup }}_activity as activity
    -- Each has one row for a key: no campaign is labelled '', so nothing fans out.
    inner join {{ rollup }}_deliveries as deliveries
        on activity.rollup_key = deliveries.rollup_key
    -- The same: nothing fans out.
    left join {{ rollup }}_visitors as visitors
        on activity.rollup_key = visitors.rollup_key
)
{%- endmacro %}
