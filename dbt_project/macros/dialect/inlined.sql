{# How a CTE is begun that is read more than once, and yet computed for each reader: `typed as {{ inlined() }}(`.

   DuckDB writes such a CTE out as a whole, in all its columns. Where it is wide and most readers want few columns or rows,
   that costs more than computing it again. Spark does not write it out unless asked to (read_often). #}
{% macro inlined() -%}
    {{ return(adapter.dispatch('inlined')()) }}
{%- endmacro %}

{% macro default__inlined() -%}
    not materialized {# #}
{%- endmacro %}

{% macro spark__inlined() -%}
{%- endmacro %}
