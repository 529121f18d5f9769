{# The schema `state` (macros/state/run_state.sql) on an engine without transactions.

   A mark is a view that gives one row: it is replaced in one step, and models that end together write nothing to the same
   table. A model that was never built has none. What a run touched is a partition of a table that one model alone writes. So
   that a run may die anywhere:

   1. what will be touched is noted, which costs a repetition at most;
   2. the mark says that the rows are unfinished, which makes the next run build the model from scratch;
   3. the rows are replaced;
   4. the mark says what they hold. #}

{# By what dbt remembers of the schema: a statement costs Spark more than DuckDB. #}
{% macro is_in_state(name) -%}
    {{ return(adapter.get_relation(none, 'state', name) is not none) }}
{%- endmacro %}

{% macro now_in_state(name, type) -%}
    {%- do adapter.cache_added(api.Relation.create(schema='state', identifier=name, type=type)) -%}
{%- endmacro %}

{% macro spark__start_run() -%}
    {%- if not execute -%}
        {{ return('') }}
    {%- endif -%}
    {%- do run_query('create schema if not exists state') -%}
    {%- do land_sources() -%}
    {%- if run_query('select count(*) from landed.ledger_purges').rows[0][0] | int > 0 -%}
        {{ exceptions.raise_compiler_error(
            'deliveries of this warehouse were purged, whose statistics only DuckDB keeps; build with MTW_ENGINE=duckdb'
        ) }}
    {%- endif -%}
    {%- set former = 0 -%}
    {%- if is_in_state('run_window') -%}
        {%- set former = run_query('select run_number from state.run_window').rows[0][0] | int -%}
    {%- endif -%}
    {%- set ceiling = run_query(
        'select coalesce(max(batch_id), 0) from ' ~ source('landed', 'batches')
    ).rows[0][0] | int -%}
    {%- do run_query(
        'create or replace view state.run_window as select cast(' ~ (former + 1) ~ ' as bigint) as run_number, cast('
        ~ ceiling ~ " as bigint) as ceiling_batch_id, '" ~ invocation_id ~ "' as invocation_id, cast('"
        ~ run_started_at.strftime('%Y-%m-%d %H:%M:%S.%f') ~ "' as timestamp) as started_at"
    ) -%}
    {%- do now_in_state('run_window', 'view') -%}
    {{ return('') }}
{%- endmacro %}

{% macro new_log(model_name) -%}
    {%- do run_query('drop table if exists state.touched__' ~ model_name) -%}
    {%- do run_query(
        'create table state.touched__' ~ model_name ~ ' (delivery_id bigint, run_number bigint) using parquet'
        ~ ' partitioned by (run_number) location ' ~ spark_literal(spark_folder() ~ '/state/touched__' ~ model_name)
    ) -%}
    {%- do now_in_state('touched__' ~ model_name, 'table') -%}
{%- endmacro %}

{% macro no_mark(model_name) -%}
    {{ return(
        'create or replace view state.mark__' ~ model_name ~ " as select '" ~ model_name ~ "' as model,"
        ~ ' cast(0 as bigint) as batch_id, cast(0 as bigint) as run_number, cast(0 as bigint) as rebuilt_run,'
        ~ " '' as fingerprint, cast(null as timestamp) as recorded_at where false"
    ) }}
{%- endmacro %}

{% macro spark__marks_of(models) -%}
    {%- set views = [] -%}
    {%- for name in models if is_in_state('mark__' ~ name) -%}
        {%- do views.append('select * from state.mark__' ~ name) -%}
    {%- endfor -%}
    {{ return('(' ~ (views or [no_mark('').partition(' as ')[2]]) | join(' union all ') ~ ') as marks') }}
{%- endmacro %}

{% macro spark__touched_by(models) -%}
    {#- Nothing can be asked for here: orchestration/remake.py says so. -#}
    {%- set tables = ['select cast(0 as bigint) as delivery_id, cast(0 as bigint) as run_number where false'] -%}
    {%- for name in models if is_in_state('touched__' ~ name) -%}
        {%- do tables.append('select delivery_id, run_number from state.touched__' ~ name) -%}
    {%- endfor -%}
    {{ return('(' ~ tables | join(' union all ') ~ ') as touched') }}
{%- endmacro %}

{# The rows of this model are about to be replaced. What is not ended is no basis for anything. Since when its rows were only
   added to is kept in mind for the mark to come: without it all models above would start afresh. #}
{% macro unmark() -%}
    {%- if 'rebuilt_before' not in model -%}
        {%- do model.update({'rebuilt_before': mark_value('rebuilt_run', none)}) -%}
    {%- endif -%}
    {%- if is_in_state('mark__' ~ this.identifier) -%}
        {%- do run_query(no_mark(this.identifier)) -%}
    {%- endif -%}
    {%- do model.update({'looked_up': {}}) -%}
{%- endmacro %}

{% macro spark__write_mark(keeps_rows, rebuilt_run, upstreams, tables) -%}
    {%- if reads_landed_rows(model.unique_id) -%}
        {%- set batch = ceiling_batch_id() -%}
    {%- else -%}
        {%- set batch = run_query('select min(batch_id) from ' ~ marks_of(upstreams)).rows[0][0] -%}
    {%- endif -%}
    {%- set seen = run_query('select min(run_number) from ' ~ marks_of(tables)).rows[0][0] if tables else none -%}
    {%- set run = current_run() if seen is none else [current_run(), seen | int] | min -%}
    {%- do run_query(
        'create or replace view state.mark__' ~ this.identifier ~ " as select '" ~ this.identifier ~ "' as model,"
        ~ ' cast(' ~ ('null' if batch is none else batch | int) ~ ' as bigint) as batch_id, cast(' ~ run
        ~ ' as bigint) as run_number, cast(' ~ rebuilt_run ~ " as bigint) as rebuilt_run, '" ~ own_fingerprint()
        ~ "' as fingerprint, current_timestamp() as recorded_at"
    ) -%}
    {%- do now_in_state('mark__' ~ this.identifier, 'view') -%}
    {{ return('') }}
{%- endmacro %}
