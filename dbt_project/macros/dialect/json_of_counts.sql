{# Names and their counts as the text of a JSON object, the largest count first: of the rows of a group, each of which has
   another name. Strings have no backslash of their own here: Spark would read it as an escape. #}
{% macro json_of_counts(name, count) -%}
    {{ return(adapter.dispatch('json_of_counts')(name, count)) }}
{%- endmacro %}

{% macro default__json_of_counts(name, count) -%}
    '{' || string_agg({{ _json_member(name, count) }}, ', ' order by {{ count }} desc, {{ name }} asc) || '}'
{%- endmacro %}

{% macro spark__json_of_counts(name, count) -%}
    '{' || array_join(
        transform(
            array_sort(collect_list(struct(-{{ count }}, {{ name }}, {{ _json_member(name, count) }} as member))),
            entry -> entry.member
        ),
        ', '
    ) || '}'
{%- endmacro %}

{% macro _json_member(name, count) -%}
    '"' || replace(replace({{ name }}, chr(92), chr(92) || chr(92)), '"', chr(92) || '"') || '": '
        || cast({{ count }} as string)
{%- endmacro %}
