{# What publishing reads: every mart as Parquet. Tables that Spark keeps as Parquet are read where they lie
   (orchestration/engine.py), as DuckDB's are; views, and tables in another format, are written to a folder each: the last thing
   that a build does, where nothing of it failed. #}
{% macro export_marts(results) -%}
    {{ return(adapter.dispatch('export_marts')(results)) }}
{%- endmacro %}

{% macro default__export_marts(results) -%}
    {{ return('') }}
{%- endmacro %}

{% macro spark__export_marts(results) -%}
    {%- if not execute or flags.WHICH not in ['build', 'run'] -%}
        {{ return('') }}
    {%- endif -%}
    {%- for result in results if result.status | string in ['error', 'fail', 'runtime error'] -%}
        {{ return('') }}
    {%- endfor -%}
    {%- for node in graph.nodes.values()
        if node.resource_type in ['model', 'seed'] and node.schema in ['core', 'reports', 'meta']
            and (node.config.materialized == 'view' or spark_file_format() != 'parquet') -%}
        {%- set columns = [] -%}
        {%- for column in adapter.get_columns_in_relation(api.Relation.create(schema=node.schema, identifier=node.alias))
            if column.column != part_column() -%}
            {%- do columns.append(column.column) -%}
        {%- endfor -%}
        {#- Not there yet where only some models were asked for; orchestration/engine.py misses it then. -#}
        {%- if columns -%}
            {%- do run_query(
                'insert overwrite directory ' ~ spark_literal(spark_folder() ~ '/export/' ~ node.schema ~ '/' ~ node.alias)
                ~ ' using parquet select ' ~ columns | unique | join(', ') ~ ' from ' ~ node.schema ~ '.' ~ node.alias
            ) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return('') }}
{%- endmacro %}
