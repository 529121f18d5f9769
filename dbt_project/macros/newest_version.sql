{# The newest version of every row of a reference entity, whatever the order of arrival.

   Newest = greatest (file_modified_at, source_file, line_number). A stored row that meets a newer version with
   the same content takes its place in time but does not count as changed: a daily full extract of unchanged
   rows sets off no recomputation above. told_by_arrival: of `columns`, what depends on when the row arrived, not on what it
   says. in_parts_by: the number in the key by which the model is made in parts (in_part),
   if it is. #}
{% macro newest_version(staging, key, columns, told_by_arrival=[], in_parts_by=none) -%}
{%- set version = ['file_modified_at', 'source_file', 'line_number', 'row_hash'] -%}
{%- set asked_for = is_asked_for('delivery_id') if 'delivery_id' in key + columns else 'false' -%}
with

arrived as (
    select
        {{ (key + columns + version + ['ingested_at', 'batch_id']) | join(', ') }},
        row_number() over (
            partition by {{ key | join(', ') }}
            order by {{ version | join(' desc, ') }} desc, batch_id asc nulls last
        ) as age
    from {{ ref(staging) }}
    where (({{ has_arrived() }}) or ({{ asked_for }} and batch_id <= {{ ceiling_batch_id() }}))
        {%- if in_parts_by %}
        and {{ in_part(in_parts_by, ref(staging)) }}
        {%- endif %}
),

newest as (
    select * from arrived
    where age = 1
){% if is_incremental() %},

stored as (
    select {{ (key + version + told_by_arrival + ['changed_in_run']) | join(', ') }} from {{ this }}
){% endif %}

select
    {% for column in key + columns + version + ['ingested_at', 'batch_id'] -%}
    newest.{{ column }},
    {% endfor -%}
    {% if is_incremental() -%}
    case
        when stored.row_hash = newest.row_hash
            {%- for column in told_by_arrival %}
            and stored.{{ column }} is not distinct from newest.{{ column }}
            {%- endfor %}
            then stored.changed_in_run
        else cast({{ current_run() }} as bigint)
    end as changed_in_run
from newest
left join stored
    on {% for column in key %}{{ 'and ' if not loop.first }}newest.{{ column }} = stored.{{ column }} {% endfor %}
where stored.row_hash is null
    or (newest.{{ version | join(', newest.') }})
    {{ '>' if asked_for == 'false' else '>=' }} (stored.{{ version | join(', stored.') }})
{%- else -%}
    cast({{ current_run() }} as bigint) as changed_in_run
from newest
{%- endif %}
{%- endmacro %}
