{# What a URL query string says, decoded. Decoding has no common spelling. A text that is not validly encoded stays as it
   is; control characters are left out. #}
{% macro url_decoded(expression) -%}
    {{ return(adapter.dispatch('url_decoded')(expression)) }}
{%- endmacro %}

{% macro default__url_decoded(expression) -%}
    regexp_replace(coalesce(try(url_decode(replace({{ expression }}, '+', ' '))), {{ expression }}), '[[:cntrl:]]', '', 'g')
{%- endmacro %}

{% macro spark__url_decoded(expression) -%}
    regexp_replace(coalesce(try_url_decode({{ expression }}), {{ expression }}), '\\p{Cntrl}', '')
{%- endmacro %}
