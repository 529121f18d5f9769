{# What a roll-up counts, over the CTE `activities` of rpt_tracking_rollups: one row per message, visitor and day. #}
{% macro rollup_measures() -%}
    cast(count(distinct delivery_id) as bigint) as delivery_count,
        {% for form in ['', 'human_'] -%}
        cast(count(distinct message_id) filter (where message_id <> 0 and {{ form }}tracking_count > 0) as bigint)
            as {{ form }}recipient_open_count,
        cast(count(distinct message_id) filter (where message_id <> 0 and {{ form }}click_count > 0) as bigint)
            as {{ form }}recipient_click_count,
        cast(count(distinct visitor_id) filter (where visitor_id <> '' and {{ form }}click_count > 0) as bigint)
            as {{ form }}person_click_count,
        cast(sum({{ form }}open_count) as bigint) as {{ form }}total_open_count,
        cast(sum({{ form }}click_count) as bigint) as {{ form }}total_click_count,
        cast(sum({{ form }}opt_out_count) as bigint) as {{ form }}opt_out_click_count,
        cast(sum({{ form }}mirror_page_count) as bigint) as {{ form }}mirror_page_click_count{{ ',' if not loop.last }}
        {% endfor -%}
{%- endmacro %}
