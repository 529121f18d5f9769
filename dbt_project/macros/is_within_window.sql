{# Whether a moment is at most so many microseconds after another one; false where either is unknown. #}
{% macro is_within_window(start, moment, window_us) -%}
    coalesce(
        {{ epoch_microseconds(moment) }} - {{ epoch_microseconds(start) }} between 0 and {{ window_us }},
        false
    )
{%- endmacro %}
