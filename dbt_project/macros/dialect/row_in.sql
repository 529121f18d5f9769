{# Whether several columns together are a row of a query's. DuckDB compares with one column that is a row, Spark with as
   many columns. rest: what follows the select list. #}
{% macro row_in(columns, rest) -%}
    {{ return(adapter.dispatch('row_in')(columns, rest)) }}
{%- endmacro %}

{% macro default__row_in(columns, rest) -%}
    ({{ columns | join(', ') }}) in (select ({{ columns | join(', ') }}) {{ rest }})
{%- endmacro %}

{% macro spark__row_in(columns, rest) -%}
    ({{ columns | join(', ') }}) in (select {{ columns | join(', ') }} {{ rest }})
{%- endmacro %}
