{#- One row per combination of `columns`: none comes twice, and none of them is NULL, nor is one of `never_null`.
    may_be_null: those of `columns` for which NULL is a value as others are. -#}
{% test grain(model, columns, never_null=[], may_be_null=[]) %}
{%- set filled = (columns + never_null) | reject('in', may_be_null) | list %}
select
    {{ columns | join(', ') }},
    count(*) as row_count
from {{ model }}
group by {{ columns | join(', ') }}
having count(*) > 1
union all
select
    {{ columns | join(', ') }},
    1 as row_count
from {{ model }}
where {{ filled | join(' is null or ') }} is null
{% endtest %}
