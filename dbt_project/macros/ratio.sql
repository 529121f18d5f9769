{# percent(a, b) and div(a, b) of the indicator definitions: NULL when b is 0 or NULL, never formatted. #}
{% macro ratio(numerator, denominator) -%}
    cast({{ numerator }} as double) / nullif({{ denominator }}, 0)
{%- endmacro %}
