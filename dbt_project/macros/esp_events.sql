{# What the events of e-mail service providers are told apart and joined by. #}

{# An address for comparison. #}
{% macro address_key(address) -%}
    nullif({{ lowered(trimmed(address)) }}, '')
{%- endmacro %}

{# A link without what differs from one recipient to the next: query, fragment and what follows a placeholder; case and
   a final slash do not count. #}
{% macro link_base(url) -%}
    {%- set cut = namespace(sql=url) -%}
    {%- for mark in ['?', '#', '<%', '$('] -%}
        {%- set cut.sql = "split_part(" ~ cut.sql ~ ", '" ~ mark ~ "', 1)" -%}
    {%- endfor -%}
    nullif(trim(trailing '/' from {{ lowered(trimmed(cut.sql)) }}), '')
{%- endmacro %}

{# Whether a placeholder stands in the path, so that the base is but the beginning of it. #}
{% macro has_personal_path(url) -%}
    (instr(split_part({{ url }}, '?', 1), '<%') > 0 or instr(split_part({{ url }}, '?', 1), '$(') > 0)
{%- endmacro %}

{# Kinds that are tracking events: acts on the message, not what became of it. #}
{% macro is_esp_tracking() -%}
    event_kind in ('open', 'click', 'unsubscribe')
{%- endmacro %}

{# Whether a tracked URL is a line of its delivery's links where nobody clicked it: not what only a provider told of, and our
   own logs hold. relation: with its dot. #}
{% macro stands_unclicked(relation) -%}
    (not {{ relation }}is_unknown and {{ relation }}url_id <> {{ provider_unsubscription_url_id() }})
{%- endmacro %}

{# What an unsubscription that a provider tells of is on: no link of the content, one for all of them. Below the ids of
   undeclared tags, above those of a platform. #}
{% macro provider_unsubscription_url_id() -%}
    4503599627370495
{%- endmacro %}
