{# Overrides dbt's own: an incremental model also starts afresh when adding to its rows would be wrong. #}
{% macro should_full_refresh() -%}
    {%- set wanted = config.get('full_refresh') -%}
    {%- if wanted is none -%}
        {%- set wanted = flags.FULL_REFRESH -%}
    {%- endif -%}
    {%- if wanted or model.config.materialized != 'incremental' -%}
        {{ return(wanted) }}
    {%- endif -%}
    {#- Decided once per model: dbt asks many times, and the answer must not turn while the model is written. -#}
    {%- if 'must_rebuild' not in model -%}
        {%- do model.update({'must_rebuild': must_rebuild()}) -%}
    {%- endif -%}
    {{ return(model['must_rebuild']) }}
{%- endmacro %}

{% macro must_rebuild() -%}
    {%- if not execute -%}
        {{ return(false) }}
    {%- endif -%}
    {%- if mark_value('fingerprint', 'never built') != own_fingerprint() -%}
        {{ return(true) }}
    {%- endif -%}
    {%- set logged = logged_upstreams(model.unique_id) -%}
    {%- if logged | length == 0 -%}
        {{ return(false) }}
    {%- endif -%}
    {%- if state_value(marks_of(logged), 'max(rebuilt_run)', 'true', 0) | int > mark_run() -%}
        {{ return(true) }}
    {%- endif -%}
    {#- Models keyed by row look at each changed row themselves; only per-delivery models take a scope. -#}
    {{ return(
        not config.get('unique_key')
        and state_value(
            touched_by(logged), 'count(*)', 'delivery_id is null and run_number > ' ~ mark_run(), 0
        ) | int > 0
    ) }}
{%- endmacro %}

{# Post-hook, inside the transaction of the model: rows and mark are committed together or not at all. #}
{% macro record_mark() -%}
    {%- if not execute or model.config.materialized not in ['table', 'incremental'] -%}
        {{ return('') }}
    {%- endif -%}
    {%- set run = current_run() -%}
    {%- set keeps_rows = is_incremental() -%}
    {%- set rebuilt_run = mark_value('rebuilt_run', run) | int if keeps_rows else run -%}
    {%- set upstreams = [] -%}
    {%- set tables = [] -%}
    {%- for upstream in physical_upstreams(model.unique_id) -%}
        {%- if graph.nodes[upstream].resource_type == 'model' -%}
            {%- do upstreams.append(graph.nodes[upstream].name) -%}
            {%- if graph.nodes[upstream].config.materialized == 'table' -%}
                {%- do tables.append(graph.nodes[upstream].name) -%}
            {%- endif -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(adapter.dispatch('write_mark')(keeps_rows, rebuilt_run, upstreams, tables)) }}
{%- endmacro %}

{# keeps_rows: it was not made anew. upstreams, tables: the models, and of these the tables, that it reads. #}
{% macro default__write_mark(keeps_rows, rebuilt_run, upstreams, tables) -%}
    {%- set marks = state_relation('model_marks') -%}
    {%- set mine = "model = '" ~ this.identifier ~ "'" %}
    delete from {{ marks }} where {{ mine }};
    {% if not keeps_rows -%}
    delete from {{ state_relation('touched_deliveries') }} where {{ mine }};
    delete from {{ state_relation('rewritten_rows') }} where {{ mine }};
    {% endif -%}
    insert into {{ marks }}
    select
        '{{ this.identifier }}',
        {% if reads_landed_rows(model.unique_id) -%}
        {{ ceiling_batch_id() }},
        {%- else -%}
        (select min(batch_id) from {{ marks_of(upstreams) }}),
        {%- endif %}
        {#- A table keeps no change log: behind it, this model has seen only what the table had seen. -#}
        least({{ current_run() }}, (select min(run_number) from {{ marks_of(tables) }})),
        {{ rebuilt_run }},
        '{{ own_fingerprint() }}',
        cast(now() as timestamp);
{%- endmacro %}
