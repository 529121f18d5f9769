{# An IP address as a text that sorts as the address does: 4 and 8 hex digits, or 6 and 16 hex digits, the first half of an
   IPv6 address (networks share no half). NULL for what is no address. A zone (fe80::1%eth0) is left out, and ::ffff: before
   an IPv4 address. #}
{% macro ip_address_key(expression) -%}
    {%- set text = "replace(lower(split_part(" ~ expression ~ ", '%', 1)), '::ffff:', '')" -%}
    {%- set number -%}
        try_cast(split_part({{ text }}, '.', 1) as bigint) * 16777216
        + try_cast(split_part({{ text }}, '.', 2) as bigint) * 65536
        + try_cast(split_part({{ text }}, '.', 3) as bigint) * 256
        + try_cast(split_part({{ text }}, '.', 4) as bigint)
    {%- endset -%}
    {%- set groups = [] -%}
    {%- for place in range(1, 5) -%}
        {%- do groups.append("lpad(split_part(" ~ full_ipv6_address(text) ~ ", ':', " ~ place ~ "), 4, '0')") -%}
    {%- endfor %}
    case
        when {{ matches_pattern(text, '^(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])([.](25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])){3}$') }}
            then '4' || {{ hex_of_number(number, 8) }}
        when {{ matches_pattern(text, '^[0-9a-f]{0,4}(:[0-9a-f]{0,4}){2,7}$') }}
            then '6' || {{ groups | join(' || ') }}
    end
{%- endmacro %}

{# With the zeros that :: stands for; of eight groups. #}
{% macro full_ipv6_address(text) -%}
    {%- set head = "split_part(" ~ text ~ ", '::', 1)" -%}
    {%- set tail = "split_part(" ~ text ~ ", '::', 2)" -%}
    case
        when instr({{ text }}, '::') > 0
            then {{ head }} || ':' || repeat('0:', 8 - {{ group_count(head) }} - {{ group_count(tail) }}) || {{ tail }}
        else {{ text }}
    end
{%- endmacro %}

{% macro group_count(text) -%}
    (case when {{ text }} = '' then 0 else 1 + length({{ text }}) - length(replace({{ text }}, ':', '')) end)
{%- endmacro %}

{# A number as that many lower-case hex digits. #}
{% macro hex_of_number(number, digits) -%}
    lpad(lower({{ adapter.dispatch('to_hex')(number) }}), {{ digits }}, '0')
{%- endmacro %}

{% macro default__to_hex(number) -%}
    to_hex({{ number }})
{%- endmacro %}

{% macro spark__to_hex(number) -%}
    hex({{ number }})
{%- endmacro %}
