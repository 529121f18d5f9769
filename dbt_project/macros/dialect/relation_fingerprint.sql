{# A query for one text that changes when any row of a small relation changes, whatever the row order.
   Hash functions over whole rows have no common spelling. #}
{% macro relation_fingerprint(relation) -%}
    {{ return(adapter.dispatch('relation_fingerprint')(relation)) }}
{%- endmacro %}

{% macro default__relation_fingerprint(relation) -%}
    select md5(coalesce(string_agg(line, '|' order by line), '')) as fingerprint
    from (select md5(cast(t as string)) as line from {{ relation }} as t)
{%- endmacro %}

{% macro spark__relation_fingerprint(relation) -%}
    select md5(concat_ws('|', sort_array(collect_list(md5(to_json(struct(t.*))))))) as fingerprint
    from {{ relation }} as t
{%- endmacro %}
