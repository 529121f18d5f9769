{# Links with personalisation: a template with placeholders, and the values that a hit's parameters give them.

   A template is written with tags (`<%= recipient.id %>`, the content before analysis) or with the numbered
   placeholders `$(p1)`, `$(p2)` … (what analysis makes of them). The n-th tag is placeholder n. #}

{% macro placeholder_limit() -%}
    {#- Logged parameters hold 64 characters by default: not even nine values fit. -#}
    {{ return(9) }}
{%- endmacro %}

{# The template with numbered placeholders: one spelling for both. #}
{% macro url_template(url) -%}
    {%- set numbered = namespace(sql=url) -%}
    {%- for number in range(1, placeholder_limit() + 1) -%}
        {%- set numbered.sql = replace_first_tag(numbered.sql, number) -%}
    {%- endfor -%}
    case when instr({{ url }}, '<%') = 0 or instr({{ url }}, '$(p') > 0 then {{ url }} else {{ numbered.sql }} end
{%- endmacro %}

{# The value of a parameter in a query string, as logged; empty where it is not there. #}
{% macro parameter_value(params, name) -%}
    split_part(split_part('&' || {{ params }}, '&{{ name }}=', 2), '&', 1)
{%- endmacro %}

{# The address that a hit led to: placeholder n is the value of parameter `p<n>`; one without a value stays. A link
   without placeholders, or a hit without parameters, shows the template as declared. #}
{% macro filled_url(url, params) -%}
    {%- set filled = namespace(sql=url_template(url)) -%}
    {%- for number in range(1, placeholder_limit() + 1) -%}
        {%- set placeholder = "'$(p" ~ number ~ ")'" -%}
        {#- A value cannot bring a placeholder of its own into the address. -#}
        {%- set value = "replace(" ~ url_decoded(parameter_value(params, 'p' ~ number)) ~ ", '$(', '%24(')" -%}
        {%- set filled.sql -%}
            replace(
                {{ filled.sql }},
                {{ placeholder }},
                case when instr('&' || {{ params }}, '&p{{ number }}=') > 0 then {{ value }} else {{ placeholder }} end
            )
        {%- endset -%}
    {%- endfor -%}
    case
        when instr('&' || {{ params }}, '&p') > 0 and (instr({{ url }}, '<%') > 0 or instr({{ url }}, '$(p') > 0)
            then {{ filled.sql }}
        else {{ url }}
    end
{%- endmacro %}
