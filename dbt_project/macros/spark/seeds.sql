{# Seeds on Spark. The adapter's own loading puts values between quotes as they are; a quote in one of them ends it. #}

{% macro spark__create_csv_table(model, agate_table) -%}
    {%- set said = model.config.get('column_types', {}) -%}
    {%- set columns = [] -%}
    {%- for name in agate_table.column_names -%}
        {%- do columns.append(name ~ ' ' ~ spark_type(said.get(name, adapter.convert_type(agate_table, loop.index0)))) -%}
    {%- endfor -%}
    {%- set sql -%}
        create table {{ this }} ({{ columns | join(', ') }})
        using {{ spark_file_format() }}
        {{ spark_location(this.schema, this.identifier) }}
    {%- endset -%}
    {%- do run_query('drop table if exists ' ~ this) -%}
    {%- do run_query(sql) -%}
    {{ return(sql) }}
{%- endmacro %}

{% macro spark__reset_csv_table(model, full_refresh, old_relation, agate_table) -%}
    {{ return(spark__create_csv_table(model, agate_table)) }}
{%- endmacro %}

{# In one statement: what a folder held before goes with it. #}
{% macro spark__load_csv_rows(model, agate_table) -%}
    {%- set said = model.config.get('column_types', {}) -%}
    {%- set columns = [] -%}
    {%- for name in agate_table.column_names -%}
        {%- set type = spark_type(said.get(name, adapter.convert_type(agate_table, loop.index0))) -%}
        {%- do columns.append('cast(' ~ name ~ ' as ' ~ type ~ ') as ' ~ name) -%}
    {%- endfor -%}
    {%- set rows = [] -%}
    {%- for row in agate_table.rows -%}
        {%- set values = [] -%}
        {%- for value in row -%}
            {%- do values.append('null' if value is none else spark_literal(value | string)) -%}
        {%- endfor -%}
        {%- do rows.append('(' ~ values | join(', ') ~ ')') -%}
    {%- endfor -%}
    {%- set sql -%}
        insert overwrite table {{ this }}
        select {{ columns | join(', ') }}
        from (values {{ rows | join(', ') }}) as seed_rows ({{ agate_table.column_names | join(', ') }})
    {%- endset -%}
    {%- do adapter.add_query(sql, abridge_sql_log=True) -%}
    {{ return(sql) }}
{%- endmacro %}
