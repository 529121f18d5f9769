{# Which rows of an incremental model a run took out or put in, by the column that its meta names as `logged_key`: by
   them the next version is made from the one published before (orchestration/row_changes.py). Not what changed in meaning, as
   touched_deliveries has it, but what was written: a row that arrives again names another file. When a row was last looked
   at (changed_in_run) is our own affair, and published nowhere. #}

{# Runs whose rows are remembered. Who published before them copies all. #}
{% macro remembered_runs() -%}
    {{ return(50) }}
{%- endmacro %}

{# Statement of get_incremental_replace_scope_sql, before rows are replaced: names the rows that come or go. Empty for models
   without meta.logged_key. columns: those of both; goes: predicate of the stored rows that go. #}
{% macro log_rewritten_rows(stored, fresh, columns, goes) -%}
    {%- set logged_key = config.get('meta', {}).get('logged_key') -%}
    {%- if logged_key -%}
    {%- set compared = columns | rejectattr('name', 'equalto', 'changed_in_run') | map(attribute='quoted') | join(', ') -%}
    insert into {{ state_relation('rewritten_rows') }}
    with gone as (select {{ compared }} from {{ stored }} where {{ goes }}), come as (select {{ compared }} from {{ fresh }})
    select distinct '{{ stored.identifier }}', cast({{ logged_key }} as varchar), {{ current_run() }}
    from (
        (select * from gone except all select * from come)
        union all
        (select * from come except all select * from gone)
    );
    {%- endif -%}
{%- endmacro %}
