{#- One row per combination of `columns`: none comes twice, and none of them is NULL, nor is one of `never_null`.
    may_be_null: those of `columns` for which NULL is a value as others are. Gives a row for each combination that comes
    again, and one for each row that lacks something, which names what. -#}
{% test grain(model, columns, never_null=[], may_be_null=[]) %}
{%- set filled = (columns + never_null) | reject('in', may_be_null) | list %}
{#- Grouped by a number first: of texts, or of several columns, a table of all that come once is many times as large. #}
select
    {{ columns | join(', ') }},
    cast(null as string) as missing,
    count(*) as row_count
from {{ model }}
where {{ row_hash(columns) }} in (
    select {{ row_hash(columns) }}
    from {{ model }}
    group by {{ row_hash(columns) }}
    having count(*) > 1
)
group by {{ columns | join(', ') }}
having count(*) > 1
{%- if filled %}
union all
select
    {{ columns | join(', ') }},
    concat_ws(
        ', '
        {%- for column in filled %},
        case when {{ column }} is null then '{{ column }}' end
        {%- endfor %}
    ) as missing,
    1 as row_count
from {{ model }}
where {{ filled | join(' is null or ') }} is null
{%- endif %}
{% endtest %}
