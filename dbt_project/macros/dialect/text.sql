{# Texts. Each of these functions exists on both engines and gives another answer for some texts, in silence. #}

{# Without blanks at both ends: every blank of Unicode, tabs and line ends not. DuckDB's trim does that; Spark's takes
   the plain space alone, unless it is told which. #}
{% macro trimmed(text) -%}
    {{ return(adapter.dispatch('trimmed')(text)) }}
{%- endmacro %}

{% macro default__trimmed(text) -%}
    trim({{ text }})
{%- endmacro %}

{% macro spark__trimmed(text) -%}
    trim(both ' \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000' from {{ text }})
{%- endmacro %}

{# In lower case, letter by letter. Spark looks around letters: it makes two of İ, and knows a sigma at the end of a word. #}
{% macro lowered(text) -%}
    {{ return(adapter.dispatch('lowered')(text)) }}
{%- endmacro %}

{% macro default__lowered(text) -%}
    lower({{ text }})
{%- endmacro %}

{% macro spark__lowered(text) -%}
    lower(translate({{ text }}, '\u0130\u03a3', 'i\u03c3'))
{%- endmacro %}

{# Whether a pattern is found in a text. `$` at its end is the end of the text; to Spark also a line's end before it. #}
{% macro matches_pattern(text, pattern) -%}
    {{ return(adapter.dispatch('matches_pattern')(text, pattern)) }}
{%- endmacro %}

{% macro default__matches_pattern(text, pattern) -%}
    regexp_matches({{ text }}, '{{ pattern }}')
{%- endmacro %}

{% macro spark__matches_pattern(text, pattern) -%}
    {{ text }} rlike '{{ pattern[:-1] ~ end_of_text() if pattern.endswith('$') else pattern }}'
{%- endmacro %}

{# In a pattern: the end of the text. #}
{% macro end_of_text() -%}
    {{ return(adapter.dispatch('end_of_text')()) }}
{%- endmacro %}

{% macro default__end_of_text() -%}
    {{ return('$') }}
{%- endmacro %}

{% macro spark__end_of_text() -%}
    {#- The backslash of a literal is written twice. -#}
    {{ return('\\\\z') }}
{%- endmacro %}

{# A whole number as BIGINT; NULL where the text is none. The cast alone takes 1.5, 1e3, 0x1f and 1_000 on DuckDB. #}
{% macro text_to_bigint(text) -%}
    case when {{ matches_pattern(text, '^[+-]?[0-9]{1,19}$') }} then try_cast({{ text }} as bigint) end
{%- endmacro %}
