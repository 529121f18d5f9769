{# Start of the second, hour, day, week (Monday) or month of a moment or day, as TIMESTAMP. Both engines call it date_trunc;
   Spark's result has a time zone. #}
{% macro start_of(unit, expression) -%}
    cast(date_trunc('{{ unit }}', {{ expression }}) as timestamp)
{%- endmacro %}
