{# Incremental strategy `replace_scope` (on Spark: macros/spark/incremental.sql): take out exactly what was recomputed, put in the new rows, and log which
   deliveries changed, all in the transaction of the model.

   with unique_key     the rows of the query replace the stored rows with the same key. The query gives a column
                       changed_in_run; rows where it is not this run count as unchanged for the models above.
                       meta.touches: SQL for the delivery a row belongs to, NULL where it serves all of them.
                       meta.makes_again: for deliveries that were asked for, the query gives every row that landed
                       rows give; what is stored besides goes.
   without             the query recomputes whole deliveries: those of in_scope(). A delivery for which it
                       gives no rows loses its stored ones. #}

{% macro get_incremental_replace_scope_sql(arg_dict) -%}
    {%- set stored = arg_dict['target_relation'] -%}
    {%- set fresh = arg_dict['temp_relation'] -%}
    {%- set key = arg_dict['unique_key'] -%}
    {%- set dest_columns = arg_dict['dest_columns'] -%}
    {%- set columns = dest_columns | map(attribute='quoted') | join(', ') -%}
    {%- set log = state_relation('touched_deliveries') -%}
    {%- set run = current_run() %}

    {% if key -%}
    {%- set key = [key] if key is string else key -%}
    {%- set delivery = config.get('meta', {})['touches'] -%}
    {#- Looked for once. By its place a row is found without reading the others'; places hold until rows are deleted. -#}
    {%- set goes = 'rowid in (select place from going)' -%}
    create or replace temporary table going as
    select rowid as place
    from {{ stored }}
    where {{ row_in(key, 'from ' ~ fresh) }}
        {%- if config.get('meta', {}).get('makes_again') %}
        or {{ is_asked_for(config.get('meta', {})['touches']) }}
        {%- endif %};

    create or replace temporary table touched_now as
    select {{ delivery }} as delivery_id
    from {{ fresh }}
    where changed_in_run = {{ run }}
    union
    select {{ delivery }} as delivery_id
    from {{ stored }}
    where {{ goes }}
        and {{ row_in(key, 'from ' ~ fresh ~ ' where changed_in_run = ' ~ run) }};
    {% else -%}
    {%- set goes = 'delivery_id in (select delivery_id from touched_now)' -%}
    create or replace temporary table touched_now as
    {{ touched_since_mark() }};
    {% endif %}

    delete from {{ log }}
    where model = '{{ stored.identifier }}'
        and exists (select 1 from touched_now where touched_now.delivery_id is not distinct from {{ log.identifier }}.delivery_id);

    insert into {{ log }}
    select '{{ stored.identifier }}', delivery_id, {{ run }} from touched_now;

    {{ log_rewritten_rows(stored, fresh, dest_columns, goes) }}

    delete from {{ stored }} where {{ goes }};

    insert into {{ stored }} ({{ columns }})
    select {{ columns }} from {{ fresh }};

    drop table touched_now;
    {% if key -%}
    drop table going;
    {%- endif %}
{%- endmacro %}

{# Deliveries whose rows an upstream changed since this model last looked. #}
{% macro touched_since_mark() -%}
    select distinct delivery_id
    from {{ touched_by(logged_upstreams(model.unique_id) + [asked_for()]) }}
    where run_number > {{ mark_run() }}
{%- endmacro %}

{# Predicate: of a delivery that someone asked to have made again from the landed rows (orchestration/remake.py), since
   this model last looked. A literal false where there is none. #}
{% macro is_asked_for(delivery) -%}
    {%- if not is_incremental() -%}
        {{ return('false') }}
    {%- endif -%}
    {%- set since = 'run_number > ' ~ mark_run() -%}
    {%- if state_value(touched_by([asked_for()]), 'count(*)', since, 0) | int == 0 -%}
        {{ return('false') }}
    {%- endif -%}
    {{ return('(' ~ delivery ~ ' in (select delivery_id from ' ~ touched_by([asked_for()]) ~ ' where ' ~ since ~ '))') }}
{%- endmacro %}

{# Asked beforehand, so that a run without news does not read the facts to find nothing. #}
{% macro nothing_touched() -%}
    {{ return(execute and looked_up('select count(*) from (' ~ touched_since_mark() ~ ')')[0][0] | int == 0) }}
{%- endmacro %}

{# Predicate for models of whole deliveries: put it on every relation the model reads. #}
{% macro in_scope(column='delivery_id') -%}
    {%- if not is_incremental() -%}
        true
    {%- elif nothing_touched() -%}
        false
    {%- else -%}
        {{ column }} in ({{ touched_since_mark() }})
    {%- endif -%}
{%- endmacro %}

{# Predicate for models of events: a landed line that belongs to such a delivery, by what it says, by its message, or as
   it is stored. #}
{% macro is_line_of_asked_for(said_delivery) -%}
    {%- set stored = is_asked_for('delivery_id') -%}
    {%- if stored == 'false' -%}
        {{ return('false') }}
    {%- endif -%}
    (
        batch_id <= {{ ceiling_batch_id() }}
        and (
            {{ is_asked_for(said_delivery) }}
            or message_id in (select message_id from {{ ref('int_messages__current') }} where {{ stored }})
            or event_key in (select event_key from {{ this }} where {{ stored }})
        )
    )
{%- endmacro %}
