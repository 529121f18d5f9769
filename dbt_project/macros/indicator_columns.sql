{# The names of a mart's columns of numbers, but for its key; asked of the adapter, because Spark has no information_schema. #}
{% macro indicator_columns(relation) -%}
    {%- set found = [] -%}
    {%- for column in adapter.get_columns_in_relation(relation) -%}
        {%- if column.dtype | lower in ['bigint', 'double', 'decimal(38,4)']
            and column.name not in ['delivery_id', part_column()] -%}
            {%- do found.append(column.name) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}
