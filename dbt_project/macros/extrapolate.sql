{# round(count * all / part), half up, in integers: a double would misplace halves at large counts, and 64 bits do not hold the
   product of two counts of billions. 0 when nothing is left to extrapolate from. Counts are never negative, so dropping the
   fraction is flooring. #}
{% macro extrapolate(count, whole, part) -%}
    case
        when {{ part }} = 0 then cast(0 as bigint)
        else cast(
            {{ integer_divide('2 * ' ~ wide(count) ~ ' * ' ~ whole ~ ' + ' ~ part, '2 * ' ~ wide(part)) }} as bigint
        )
    end
{%- endmacro %}

{# A whole number with room for its product with another one. #}
{% macro wide(number) -%}
    {{ return(adapter.dispatch('wide')(number)) }}
{%- endmacro %}

{% macro default__wide(number) -%}
    cast({{ number }} as hugeint)
{%- endmacro %}

{% macro spark__wide(number) -%}
    cast({{ number }} as decimal(18, 0))
{%- endmacro %}
