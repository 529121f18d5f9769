{# Tables, views and contracts on Spark. #}

{# A contract holds names and types. A whole number that the SQL gives as INT (row_number does, on Spark) is made the BIGINT that
   the contract says; nothing else is converted. #}
{% macro spark__get_empty_schema_sql(columns) -%}
    {%- set typed = [] -%}
    {%- for column in columns.values() -%}
        {%- do typed.append('cast(null as ' ~ spark_type(column.data_type) ~ ') as ' ~ column.name) -%}
    {%- endfor -%}
    {{ return('select ' ~ typed | join(', ')) }}
{%- endmacro %}

{% macro spark__format_column(column) -%}
    {%- set data_type = 'bigint' if column.dtype == 'int' else column.dtype -%}
    {{ return({'name': column.name, 'data_type': data_type, 'formatted': column.column | lower ~ ' ' ~ data_type}) }}
{%- endmacro %}

{% macro spark_contracted(sql) -%}
    {%- if not config.get('contract').enforced -%}
        {{ return(sql) }}
    {%- endif -%}
    {%- do get_assert_columns_equivalent(sql) -%}
    {%- set columns = [] -%}
    {%- for column in model.columns.values() -%}
        {%- do columns.append('cast(' ~ column.name ~ ' as ' ~ spark_type(column.data_type) ~ ') as ' ~ column.name) -%}
    {%- endfor -%}
    {{ return('select ' ~ columns | join(', ') ~ ' from (' ~ sql ~ ') as contracted') }}
{%- endmacro %}

{% macro spark__create_view_as(relation, sql) -%}
    create or replace view {{ relation }} as
    {{ spark_contracted(sql) }}
{%- endmacro %}

{# A table with the rows of a query, in the place of an older one. partitioned: by part_column(). #}
{% macro spark_create_table(relation, sql, partitioned=false) -%}
    {%- if spark_file_format() == 'parquet' -%}
        {#- There is no replacing a Parquet table in one step: between these it is not there. -#}
        {%- do run_query('drop table if exists ' ~ relation) -%}
        {%- if partitioned -%}
            {#- Partitions that a run which died left in the folder would be found again. -#}
            {%- do spark_empty_folder(relation) -%}
        {%- endif -%}
    {%- endif -%}
    {%- call statement('main') -%}
        create {{ '' if spark_file_format() == 'parquet' else 'or replace ' }}table {{ relation }}
        using {{ spark_file_format() }}
        {{ 'partitioned by (' ~ part_column() ~ ')' if partitioned }}
        {{ spark_location(relation.schema, relation.identifier) }}
        as
        {{ sql }}
    {%- endcall -%}
{%- endmacro %}

{# Dropping a Parquet table leaves its rows in its folder. #}
{% macro spark_empty_folder(relation) -%}
    {%- if spark_file_format() == 'parquet' -%}
        {%- do run_query(
            'insert overwrite directory ' ~ spark_literal(spark_folder() ~ '/' ~ relation.schema ~ '/' ~ relation.identifier)
            ~ ' using parquet select 1 as nothing where false'
        ) -%}
    {%- endif -%}
{%- endmacro %}

{% materialization table, adapter='spark' %}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set existing = load_cached_relation(this) -%}
    {{ run_hooks(pre_hooks) }}
    {%- if existing is not none -%}
        {%- do adapter.drop_relation(existing) -%}
    {%- endif -%}
    {%- do spark_create_table(target_relation, spark_contracted(sql)) -%}
    {{ run_hooks(post_hooks) }}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}
