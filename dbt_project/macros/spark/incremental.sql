{# Incremental strategy `replace_scope` (macros/state/replace_scope.sql says what it does) on an engine that cannot delete rows:
   the parts of the table that hold rows to be replaced are written anew, whole, and take the place of the former. #}

{% materialization incremental, adapter='spark' %}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set sql = spark_keep_what_is_read_often(sql) -%}
    {%- set rows -%}
        select
            *,
            {{ part_expression() }} as {{ part_column() }}
        from ({{ spark_contracted(sql) }}) as model_rows
    {%- endset -%}
    {{ run_hooks(pre_hooks) }}
    {%- if existing is none or existing.is_view or should_full_refresh() -%}
        {%- do unmark() -%}
        {#- Who follows the log builds from scratch too. -#}
        {%- do new_log(this.identifier) -%}
        {%- if existing is not none -%}
            {%- do adapter.drop_relation(existing) -%}
        {%- endif -%}
        {%- do spark_create_table(target_relation, rows, partitioned=true) -%}
    {%- else -%}
        {%- do spark_replace_scope(target_relation, rows) -%}
    {%- endif -%}
    {%- do spark_forget_what_was_kept() -%}
    {{ run_hooks(post_hooks) }}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}

{% macro spark_replace_scope(stored, rows) -%}
    {%- set key = config.get('unique_key') -%}
    {%- set key = [key] if key is string else key -%}
    {%- set part = part_column() -%}
    {%- set run = current_run() -%}
    {#- The query reads the stored rows: its result is written down before they are touched. -#}
    {%- set fresh = api.Relation.create(schema='state', identifier='fresh__' ~ stored.identifier, type='table') -%}
    {%- do spark_create_table(fresh, rows) -%}

    {%- if key -%}
        {%- set delivery = config.get('meta', {})['touches'] -%}
        {%- set touched -%}
            select {{ delivery }} as delivery_id
            from {{ fresh }}
            where changed_in_run = {{ run }}
            union
            select {{ delivery }} as delivery_id
            from {{ stored }}
            where {{ row_in(key, 'from ' ~ fresh ~ ' where changed_in_run = ' ~ run) }}
        {%- endset -%}
        {%- set replaced = row_in(key, 'from ' ~ fresh) -%}
        {%- set parts = 'select distinct ' ~ part ~ ' from ' ~ fresh -%}
    {%- else -%}
        {%- set touched = touched_since_mark() -%}
        {%- set replaced = 'delivery_id in (' ~ touched_since_mark() ~ ')' -%}
        {%- set parts = 'select distinct ' ~ part_expression() ~ ' from (' ~ touched_since_mark() ~ ') as scope' -%}
    {%- endif -%}
    {%- set log = 'state.touched__' ~ stored.identifier -%}
    {%- do run_query(
        'insert overwrite table ' ~ log ~ ' partition (run_number = ' ~ run ~ ') select delivery_id from (' ~ touched ~ ') as t'
    ) -%}
    {%- set found = [] -%}
    {%- for row in run_query(parts).rows if row[0] is not none -%}
        {%- do found.append(spark_literal(row[0] | string)) -%}
    {%- endfor -%}
    {%- if found -%}
        {%- set columns = adapter.get_columns_in_relation(stored) | map(attribute='column') | unique | list -%}
        {%- set here = 'cast(' ~ part ~ ' as string) in (' ~ found | join(', ') ~ ')' -%}
        {%- do unmark() -%}
        {%- call statement('main') -%}
            insert overwrite table {{ stored }} partition ({{ part }})
            select {{ columns | join(', ') }}
            from {{ stored }}
            where {{ here }}
                and not coalesce({{ replaced }}, false)
            union all
            select {{ columns | join(', ') }}
            from {{ fresh }}
        {%- endcall -%}
        {%- if not key -%}
            {#- A part that is empty now was not written: it still has what was to go. -#}
            {%- set left_over -%}
                select distinct {{ part }}
                from {{ stored }}
                where {{ here }}
                    and {{ replaced }}
                    and {{ part }} not in (select {{ part }} from {{ fresh }})
            {%- endset -%}
            {%- for row in run_query(left_over).rows -%}
                {%- do run_query(
                    'insert overwrite table ' ~ stored ~ ' partition (' ~ part ~ ' = ' ~ row[0] ~ ') select '
                    ~ columns | reject('equalto', part) | join(', ') ~ ' from ' ~ fresh ~ ' where false'
                ) -%}
            {%- endfor -%}
        {%- endif -%}
    {%- else -%}
        {%- call statement('main') -%}
            select 1 as nothing_new
        {%- endcall -%}
    {%- endif -%}
    {%- do run_query('drop table if exists ' ~ fresh) -%}
    {%- do spark_empty_folder(fresh) -%}
{%- endmacro %}
