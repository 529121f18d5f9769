{# The networks that a message is shared on, and what is shared there. #}

{% macro networks() -%}
    {{ return(['email', 'facebook', 'twitter', 'delicious', 'digg', 'google', 'linkedin']) }}
{%- endmacro %}

{# The network that a tracked URL's category names, else NULL: an event on such a URL is a share. #}
{% macro network_of(category) -%}
    case
        when {{ lowered(trimmed(category)) }} in ('{{ networks() | join("', '") }}') then {{ lowered(trimmed(category)) }}
    end
{%- endmacro %}

{# The links in scope on which an event is a share, with their network: delivery_id, url_id, network. within: a further
   predicate of their deliveries. #}
{% macro network_links(tracked_urls, within='true') -%}
    select
        delivery_id,
        url_id,
        {{ network_of('category') }} as network
    from {{ tracked_urls }}
    where {{ in_scope() }}
        and {{ within }}
        and {{ network_of('category') }} is not null
{%- endmacro %}

{# The network in the parameters of a hit by somebody the message was shared with, else NULL. Logged parameters are cut,
   by default at 64 characters, where the first parameter leaves two letters of the network: a beginning of one network's
   name is that network, where it is the last that was logged. #}
{% macro network_shared_on(params) -%}
    {%- set value = lowered(parameter_value(params, 'ap_category')) -%}
    case
        {% for network in networks() -%}
        when {{ value }} = '{{ network }}' then '{{ network }}'
        {% endfor -%}
        {#- Two letters tell all networks apart. -#}
        {% for network in networks() -%}
        when {{ is_cut_at(params, 'ap_category') }} and length({{ value }}) >= 2
                and substr('{{ network }}', 1, length({{ value }})) = {{ value }}
            then '{{ network }}'
        {% endfor -%}
    end
{%- endmacro %}

{# Whether a parameter is the last of parameters that are as long as the log lets them be: its value may be cut. #}
{% macro is_cut_at(params, name) -%}
    length({{ params }}) >= 64 and instr(split_part('&' || {{ params }}, '&{{ name }}=', 2), '&') = 0
{%- endmacro %}

{# The delivery that was shared, in hex; NULL where it is not there, is no number, or may be cut. #}
{% macro delivery_shared(params) -%}
    case
        when not ({{ is_cut_at(params, 'ap_deliveryId') }})
            then nullif({{ hex_to_bigint(parameter_value(params, 'ap_deliveryId')) }}, 0)
    end
{%- endmacro %}
