{# Landed rows as tables of the schema `landed`, made anew at the start of a run: what is there, with the columns that it
   has. Nothing is copied. The batches are partitions for both engines. #}
{% macro land_sources() -%}
    {%- set root = env_var('MTW_LANDED_DIR', '') or env_var('MTW_WAREHOUSE_DIR', '') ~ '/landed' -%}
    {%- if '/' not in root[:1] and '://' not in root -%}
        {{ exceptions.raise_compiler_error("MTW_WAREHOUSE_DIR is '" ~ root[:-7] ~ "'; on Spark it has to be an absolute path") }}
    {%- endif -%}
    {#- What other clients call s3, Hadoop's call s3a. -#}
    {%- set root = root | replace('s3://', 's3a://') -%}
    {%- do run_query('create schema if not exists landed') -%}
    {%- for landed in graph.sources.values() if landed.source_name == 'landed' -%}
        {%- if landed.name == 'batches' or landed.name.startswith('ledger_') -%}
            {%- do run_query(
                'create or replace view landed.' ~ landed.name ~ ' as select * from parquet.`'
                ~ (root ~ '/' ~ landed.name) | replace('`', '``') ~ '.parquet`'
            ) -%}
        {%- else -%}
            {%- do run_query('drop table if exists landed.' ~ landed.name) -%}
            {%- do run_query(
                'create table landed.' ~ landed.name ~ ' using parquet'
                ~ ' location ' ~ spark_literal(root ~ '/' ~ landed.name)
            ) -%}
            {%- do run_query('msck repair table landed.' ~ landed.name) -%}
        {%- endif -%}
    {%- endfor -%}
{%- endmacro %}
