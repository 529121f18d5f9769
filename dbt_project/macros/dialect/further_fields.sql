{# One row per further column (JSON object `extra`) of a reference row: recipient_id, changed_in_run, field, value.
   Unnesting a JSON object has no common spelling. #}
{% macro further_fields(relation) -%}
    {{ return(adapter.dispatch('further_fields')(relation)) }}
{%- endmacro %}

{% macro default__further_fields(relation) -%}
    select
        recipient_id,
        changed_in_run,
        {{ lowered('entry.key') }} as field,
        entry.value as value
    from (
        select
            recipient_id,
            changed_in_run,
            unnest(map_entries(cast(cast(extra as json) as map(varchar, varchar)))) as entry
        from {{ relation }}
        where extra is not null
    )
{%- endmacro %}

{% macro spark__further_fields(relation) -%}
    select
        recipient_id,
        changed_in_run,
        {{ lowered('entry.key') }} as field,
        entry.value as value
    from (
        select
            recipient_id,
            changed_in_run,
            explode(map_entries(from_json(extra, 'map<string,string>'))) as entry
        from {{ relation }}
        where extra is not null
    )
{%- endmacro %}
