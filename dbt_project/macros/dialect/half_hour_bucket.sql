{# Start of the half-hour. DuckDB: time_bucket. Spark has none: whole seconds since 1970. #}
{% macro half_hour_bucket(expression) -%}
    {{ return(adapter.dispatch('half_hour_bucket')(expression)) }}
{%- endmacro %}

{% macro default__half_hour_bucket(expression) -%}
    time_bucket(interval '30 minutes', {{ expression }})
{%- endmacro %}

{% macro spark__half_hour_bucket(expression) -%}
    cast(timestamp_seconds(cast(floor(unix_seconds({{ expression }}) / 1800) as bigint) * 1800) as timestamp)
{%- endmacro %}
