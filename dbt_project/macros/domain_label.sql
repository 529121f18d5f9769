{# Name of a recipient domain; domains that nobody listed read Others. #}
{% macro domain_label(declared_label) -%}
    coalesce(nullif({{ trimmed(declared_label) }}, ''), 'Others')
{%- endmacro %}
