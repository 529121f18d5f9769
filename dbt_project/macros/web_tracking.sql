{# A tag as a hit names it: `name`, or `name|w|folder` or `name|t|folder`, which make a page of type web or transaction
   on the fly where no such tag is declared. #}
{% macro tag_name(tag) -%}
    nullif({{ trimmed('split_part(' ~ tag ~ ", '|', 1)") }}, '')
{%- endmacro %}

{% macro tag_kind(tag) -%}
    {{ lowered(trimmed('split_part(' ~ tag ~ ", '|', 2)")) }}
{%- endmacro %}

{# 4, 5 or, where the hit does not say, NULL. #}
{% macro tag_url_type(tag) -%}
    case {{ tag_kind(tag) }} when 'w' then 4 when 't' then 5 end
{%- endmacro %}

{# URL id of a tag for which no row declares one: 2^52 plus 48 bits of the md5 of its name and type. The same for
   ever, beyond the ids that platforms give out, and exact in tools that hold numbers as doubles. #}
{% macro undeclared_tag_url_id(name, url_type) -%}
    4503599627370496 + {{ hex_to_bigint(
        "substr(md5(" ~ name ~ " || '|' || coalesce(cast(" ~ url_type ~ " as string), '')), 1, 12)"
    ) }}
{%- endmacro %}

{# Which web hits are kept: session, permanent or anonymous. #}
{% macro web_tracking_mode() -%}
    {%- set mode = var('web_tracking_mode') -%}
    {%- if mode not in ['session', 'permanent', 'anonymous'] -%}
        {{ exceptions.raise_compiler_error(
            "web_tracking_mode is '" ~ mode ~ "'; set MTW_WEB_TRACKING_MODE to session, permanent or anonymous"
        ) }}
    {%- endif -%}
    {{ return(mode) }}
{%- endmacro %}
