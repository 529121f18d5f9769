{# Whether the id of a recipient or a message stands for an erased one: such ids are drawn from 2^52 to 2^53, beyond what
   platforms give out (log_ingest/subject.py). #}
{% macro is_erased(id) -%}
    {{ id }} >= 4503599627370496
{%- endmacro %}
