{# What a run needs to remember about itself, in the schema `state` of the working database.

   run_window          one row: the number of this run, and the last landed batch it may read. Fixed once, so
                       that every model of one invocation sees the same arrivals.
   model_marks         per table or incremental model: what it has absorbed.
                         batch_id     landed batches up to here are in its rows: those it reads itself, else the least of
                                      its upstreams
                         run_number   changes that its upstreams made in runs up to here are in its rows
                         rebuilt_run  the run that last made it from scratch: everything may have changed
                         fingerprint  of the SQL and seeds it was made with
   touched_deliveries  per incremental model and delivery: the last run that changed rows of that delivery.
                       NULL as delivery: rows that serve every delivery changed.
                       Model `(asked for)`: deliveries to be made again by that run, written before it begins.
   rewritten_rows      rows that a run took out or put in, but for those that came out the same (rewritten_rows.sql)
   runs                the last runs, by number and dbt invocation: by them a version knows whether this database is the one it
                       was made from, or a copy that went another way

   Where there are no transactions (Spark) the same is kept otherwise: macros/spark/state.sql.

   Arrival is counted in batches, propagation from model to model in runs: a restatement moves no batch. #}

{% macro state_relation(name) -%}
    {{ return(api.Relation.create(database=target.database or none, schema='state', identifier=name)) }}
{%- endmacro %}

{% macro start_run() -%}
    {{ return(adapter.dispatch('start_run')()) }}
{%- endmacro %}

{% macro default__start_run() -%}
    create schema if not exists {{ target.database }}.state;
    create table if not exists {{ state_relation('run_window') }} (
        run_number bigint, ceiling_batch_id bigint, invocation_id varchar, started_at timestamp
    );
    create table if not exists {{ state_relation('model_marks') }} (
        model varchar, batch_id bigint, run_number bigint, rebuilt_run bigint, fingerprint varchar,
        recorded_at timestamp
    );
    create table if not exists {{ state_relation('touched_deliveries') }} (
        model varchar, delivery_id bigint, run_number bigint
    );
    create table if not exists {{ state_relation('rewritten_rows') }} (
        model varchar, row_key varchar, run_number bigint
    );
    create table if not exists {{ state_relation('runs') }} (run_number bigint, invocation_id varchar);
    insert into {{ state_relation('run_window') }}
    select 0, 0, null, null
    where not exists (select 1 from {{ state_relation('run_window') }});
    update {{ state_relation('run_window') }}
    set
        run_number = run_number + 1,
        ceiling_batch_id = (select coalesce(max(batch_id), 0) from {{ source('landed', 'batches') }}),
        invocation_id = '{{ invocation_id }}',
        started_at = cast('{{ run_started_at.strftime("%Y-%m-%d %H:%M:%S.%f") }}' as timestamp);
    insert into {{ state_relation('runs') }} select run_number, invocation_id from {{ state_relation('run_window') }};
    delete from {{ state_relation('runs') }}
    where run_number <= (select run_number - {{ remembered_runs() }} from {{ state_relation('run_window') }});
    delete from {{ state_relation('rewritten_rows') }}
    where run_number <= (select run_number - {{ remembered_runs() }} from {{ state_relation('run_window') }});
{%- endmacro %}

{# What some models have absorbed: rows of model_marks. #}
{% macro marks_of(models) -%}
    {{ return(adapter.dispatch('marks_of')(models)) }}
{%- endmacro %}

{% macro default__marks_of(models) -%}
    (select * from {{ state_relation('model_marks') }} where model in ('{{ models | join("', '") }}')) as marks
{%- endmacro %}

{# The change log of some models: rows of touched_deliveries. #}
{% macro touched_by(models) -%}
    {{ return(adapter.dispatch('touched_by')(models)) }}
{%- endmacro %}

{% macro default__touched_by(models) -%}
    (select * from {{ state_relation('touched_deliveries') }} where model in ('{{ models | join("', '") }}')) as touched
{%- endmacro %}

{# Stands as a model in touched_deliveries: deliveries that someone asked to have made again (orchestration/remake.py). #}
{% macro asked_for() -%}
    {{ return('(asked for)') }}
{%- endmacro %}

{# The rows that a query gives. Asked once per model: a build with nothing to do consists of such questions. So only of what
   stays the same while a model is built, as all that is above it does, and its own mark until that is written. #}
{% macro looked_up(query) -%}
    {%- if 'looked_up' not in model -%}
        {%- do model.update({'looked_up': {}}) -%}
    {%- endif -%}
    {%- if query not in model['looked_up'] -%}
        {%- do model['looked_up'].update({query: run_query(query).rows}) -%}
    {%- endif -%}
    {{ return(model['looked_up'][query]) }}
{%- endmacro %}

{# Whether a run has begun, ever. By what dbt remembers of the schema. #}
{% macro has_state() -%}
    {{ return(execute and adapter.get_relation(target.database, 'state', 'run_window') is not none) }}
{%- endmacro %}

{# One value from the state schema; the default while parsing, and before any run has begun. rows: marks_of or touched_by. #}
{% macro state_value(rows, expression, condition='true', default=none) -%}
    {%- if not has_state() -%}
        {{ return(default) }}
    {%- endif -%}
    {%- set found = looked_up('select ' ~ expression ~ ' as v from ' ~ rows ~ ' where ' ~ condition) -%}
    {%- if found | length == 0 or found[0][0] is none -%}
        {{ return(default) }}
    {%- endif -%}
    {{ return(found[0][0]) }}
{%- endmacro %}

{# A value of this model's mark, as it was before this run. #}
{% macro mark_value(name, default) -%}
    {%- if not has_state() -%}
        {{ return(default) }}
    {%- endif -%}
    {%- set found = looked_up(
        'select batch_id, run_number, rebuilt_run, fingerprint from ' ~ marks_of([this.identifier])
    ) -%}
    {%- if found | length == 0 or found[0][name] is none -%}
        {{ return(default) }}
    {%- endif -%}
    {{ return(found[0][name]) }}
{%- endmacro %}

{# A value of run_window, which stays the same for a whole run. #}
{% macro window_value(name) -%}
    {%- if not has_state() -%}
        {{ return(0) }}
    {%- endif -%}
    {{ return(looked_up('select run_number, ceiling_batch_id from ' ~ state_relation('run_window'))[0][name] | int) }}
{%- endmacro %}

{% macro current_run() -%}
    {{ return(window_value('run_number')) }}
{%- endmacro %}

{# Landed batches above this are not read in this run. #}
{% macro ceiling_batch_id() -%}
    {{ return(window_value('ceiling_batch_id')) }}
{%- endmacro %}

{% macro mark_batch_id() -%}
    {{ return(mark_value('batch_id', -1) | int) }}
{%- endmacro %}

{% macro mark_run() -%}
    {{ return(mark_value('run_number', -1) | int) }}
{%- endmacro %}

{# Predicate: a landed row that this model has yet to absorb. Literals, so that DuckDB opens only the
   Parquet files of those batches. #}
{% macro has_arrived() -%}
    {%- if is_incremental() -%}
        batch_id > {{ mark_batch_id() }} and batch_id <= {{ ceiling_batch_id() }}
    {%- else -%}
        batch_id <= {{ ceiling_batch_id() }}
    {%- endif -%}
{%- endmacro %}

{# Predicate for views, which live longer than a run: rows up to the ceiling of the last run. #}
{% macro is_within_run_window() -%}
    batch_id <= (select ceiling_batch_id from {{ state_relation('run_window') }})
{%- endmacro %}
