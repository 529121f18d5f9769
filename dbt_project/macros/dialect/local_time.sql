{# UTC time to wall-clock time in the reporting zone, both without zone. DuckDB: timezone. Spark: from_utc_timestamp. #}
{% macro local_time(expression) -%}
    {%- set zone = var('time_zone') -%}
    {#- The default, and no work at all. -#}
    {%- if zone == 'UTC' -%}
        {{ return(expression) }}
    {%- endif -%}
    {{ return(adapter.dispatch('local_time')(expression, "'" ~ zone | replace("'", "''") ~ "'")) }}
{%- endmacro %}

{% macro default__local_time(expression, zone) -%}
    timezone({{ zone }}, timezone('UTC', {{ expression }}))
{%- endmacro %}

{% macro spark__local_time(expression, zone) -%}
    cast(from_utc_timestamp({{ expression }}, {{ zone }}) as timestamp)
{%- endmacro %}

{# Day in the reporting zone. #}
{% macro local_day(expression) -%}
    cast({{ local_time(expression) }} as date)
{%- endmacro %}
