{# round(count * all / part), half up, in integers: a double would misplace halves at large counts. 0 when
   nothing is left to extrapolate from. Counts are never negative, so dropping the fraction is flooring. #}
{% macro extrapolate(count, whole, part) -%}
    case
        when {{ part }} = 0 then cast(0 as bigint)
        else {{ integer_divide('2 * ' ~ count ~ ' * ' ~ whole ~ ' + ' ~ part, '2 * ' ~ part) }}
    end
{%- endmacro %}
