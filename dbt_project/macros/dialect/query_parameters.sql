{# What a URL query string says, decoded: one parameter by its name (any case; the first where it is repeated; NULL
   where absent or empty), and all but the reserved ones as a JSON object. Decoding, lists and JSON have no common
   spelling. A text that is not validly encoded stays as it is; control characters are left out. #}
{% macro query_parameter(query, name) -%}
    nullif({{ trimmed(url_decoded("regexp_extract(" ~ query ~ ", '(?i)(?:^|[?&])" ~ name ~ "=([^&]*)', 1)")) }}, '')
{%- endmacro %}

{# The query string with the value of a parameter taken out. #}
{% macro without_parameter_value(query, name) -%}
    {{ return(adapter.dispatch('without_parameter_value')(query, name)) }}
{%- endmacro %}

{% macro default__without_parameter_value(query, name) -%}
    regexp_replace({{ query }}, '(?i)((?:^|[?&]){{ name }}=)[^&]*', '\1', 'g')
{%- endmacro %}

{% macro spark__without_parameter_value(query, name) -%}
    regexp_replace({{ query }}, '(?i)((?:^|[?&]){{ name }}=)[^&]*', '$1')
{%- endmacro %}

{% macro url_decoded(expression) -%}
    {{ return(adapter.dispatch('url_decoded')(expression)) }}
{%- endmacro %}

{% macro default__url_decoded(expression) -%}
    regexp_replace(coalesce(try(url_decode(replace({{ expression }}, '+', ' '))), {{ expression }}), '[[:cntrl:]]', '', 'g')
{%- endmacro %}

{# Spark gives up on a percent sign that begins no escape, which DuckDB leaves as it is, and puts a mark where bytes are no
   UTF-8, where DuckDB gives up. #}
{% macro spark__url_decoded(expression) -%}
    {%- set decoded = "try_url_decode(regexp_replace(" ~ expression ~ ", '%(?![0-9A-Fa-f]{2})', '%25'))" -%}
    regexp_replace(
        case
            when instr({{ decoded }}, '\ufffd') > 0 and not {{ expression }} rlike '(?i)%ef%bf%bd|\ufffd' then {{ expression }}
            else coalesce({{ decoded }}, {{ expression }})
        end,
        '\\p{Cntrl}',
        ''
    )
{%- endmacro %}

{% macro other_parameters(query, reserved) -%}
    {{ return(adapter.dispatch('other_parameters')(query, reserved)) }}
{%- endmacro %}

{% macro default__other_parameters(query, reserved) -%}
    {%- set given -%}
        list_filter(
            list_transform(
                string_split({{ query }}, '&'),
                lambda p: {'key': {{ url_decoded("split_part(p, '=', 1)") }}, 'value': {{ url_decoded("substr(p, instr(p || '=', '=') + 1)") }}}
            ),
            lambda e: e.key <> '' and lower(e.key) not in ('{{ reserved | join("', '") }}')
        )
    {%- endset -%}
    nullif(
        cast(to_json(map_from_entries(list_filter(
            {{ given }}, lambda e, i: list_position(list_transform({{ given }}, lambda o: o.key), e.key) = i
        ))) as string),
        '{}'
    )
{%- endmacro %}

{% macro spark__other_parameters(query, reserved) -%}
    {%- set given -%}
        filter(
            transform(
                split({{ query }}, '&'),
                p -> struct({{ url_decoded("split_part(p, '=', 1)") }} as key, {{ url_decoded("substr(p, instr(concat(p, '='), '=') + 1)") }} as value)
            ),
            e -> e.key <> '' and lower(e.key) not in ('{{ reserved | join("', '") }}')
        )
    {%- endset -%}
    nullif(
        to_json(map_from_entries(filter(
            {{ given }}, (e, i) -> array_position(transform({{ given }}, o -> o.key), e.key) = i + 1
        ))),
        '{}'
    )
{%- endmacro %}
