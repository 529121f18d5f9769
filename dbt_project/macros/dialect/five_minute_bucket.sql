{# Start of the 5-minute bucket. DuckDB: time_bucket. Spark has none: whole seconds since 1970. #}
{% macro five_minute_bucket(expression) -%}
    {{ return(adapter.dispatch('five_minute_bucket')(expression)) }}
{%- endmacro %}

{% macro default__five_minute_bucket(expression) -%}
    time_bucket(interval '5 minutes', {{ expression }})
{%- endmacro %}

{% macro spark__five_minute_bucket(expression) -%}
    cast(timestamp_seconds(cast(floor(unix_seconds({{ expression }}) / 300) as bigint) * 300) as timestamp)
{%- endmacro %}
