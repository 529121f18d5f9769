{# A hexadecimal number as BIGINT; NULL where it is none or needs more than 63 bits. DuckDB casts 0x…; Spark: conv. #}
{% macro hex_to_bigint(expression) -%}
    {{ return(adapter.dispatch('hex_to_bigint')(expression)) }}
{%- endmacro %}

{% macro default__hex_to_bigint(expression) -%}
    case
        when {{ matches_pattern(expression, '^[0-9a-fA-F]{1,16}$') }} then try_cast('0x' || {{ expression }} as bigint)
    end
{%- endmacro %}

{% macro spark__hex_to_bigint(expression) -%}
    case
        when {{ matches_pattern(expression, '^[0-9a-fA-F]{1,16}$') }} then try_cast(conv({{ expression }}, 16, 10) as bigint)
    end
{%- endmacro %}
