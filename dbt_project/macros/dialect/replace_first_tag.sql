{# The first personalisation tag `<%…%>` of a text replaced by the placeholder `$(p<number>)`. Both engines replace the
   match of a pattern that reaches from the beginning; they write group references and `$` differently. #}
{% macro replace_first_tag(expression, number) -%}
    {{ return(adapter.dispatch('replace_first_tag')(expression, number)) }}
{%- endmacro %}

{% macro default__replace_first_tag(expression, number) -%}
    regexp_replace({{ expression }}, '(?s)^(.*?)<%.*?%>', '\1$(p{{ number }})')
{%- endmacro %}

{% macro spark__replace_first_tag(expression, number) -%}
    regexp_replace({{ expression }}, '(?s)^(.*?)<%.*?%>', '$1\\$(p{{ number }})')
{%- endmacro %}
