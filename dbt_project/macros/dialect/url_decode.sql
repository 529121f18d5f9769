{# Percent-decoded text of a query-string value, + being a space. A value that does not decode to text (bad UTF-8, control
   characters) stays as it was logged. DuckDB: url_decode, which raises on bad UTF-8. Spark: try_url_decode. #}
{% macro url_decode(expression) -%}
    {{ return(adapter.dispatch('url_decode')(expression)) }}
{%- endmacro %}

{% macro default__url_decode(expression) -%}
    case
        when regexp_matches(try(url_decode(replace({{ expression }}, '+', ' '))), '[[:cntrl:]]') then {{ expression }}
        else coalesce(try(url_decode(replace({{ expression }}, '+', ' '))), {{ expression }})
    end
{%- endmacro %}

{% macro spark__url_decode(expression) -%}
    case
        when try_url_decode({{ expression }}) rlike '\\p{Cntrl}' then {{ expression }}
        else coalesce(try_url_decode({{ expression }}), {{ expression }})
    end
{%- endmacro %}
