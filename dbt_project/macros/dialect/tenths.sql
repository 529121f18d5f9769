{# For each tenth from the first to the ninth, the smallest of a group's values such that the values up to it are at least that
   tenth of all: of the rows for which a condition holds; a list, empty or NULL where there are none. Exact: a tenth of a count is
   compared as an integer, for a double would miss some.

   DuckDB finds places without sorting, and counts in decimals where it is told decimals. Spark has no such function of several
   places; there the sorted values of a group are one row. #}
{% macro tenths(value, condition) -%}
    {{ return(adapter.dispatch('tenths')(value, condition)) }}
{%- endmacro %}

{% macro default__tenths(value, condition) -%}
    quantile_disc({{ value }}, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]) filter (where {{ condition }})
{%- endmacro %}

{% macro spark__tenths(value, condition) -%}
    aggregate(
        array(array_sort(collect_list({{ value }}) filter (where {{ condition }}))),
        cast(array() as array<bigint>),
        (nothing, sorted) -> transform(
            sequence(1, 9), tenth -> try_element_at(sorted, cast((tenth * size(sorted) + 9) div 10 as int))
        )
    )
{%- endmacro %}

{# One of them. #}
{% macro tenth_of(tenths, tenth) -%}
    {{ return(adapter.dispatch('tenth_of')(tenths, tenth)) }}
{%- endmacro %}

{% macro default__tenth_of(tenths, tenth) -%}
    {{ tenths }}[{{ tenth }}]
{%- endmacro %}

{% macro spark__tenth_of(tenths, tenth) -%}
    try_element_at({{ tenths }}, cast({{ tenth }} as int))
{%- endmacro %}
