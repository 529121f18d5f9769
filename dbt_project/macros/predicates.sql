{# What the indicator definitions mean by a word, said once. #}

{# Sent, taken into account by the provider or received on mobile; seed addresses are not counted as delivered. #}
{% macro is_delivered() -%}
    status in (1, 3, 4) and not is_seed
{%- endmacro %}

{# When a message left, as far as anybody says: the platform's time of its status, not that of an outcome which the provider
   told days later. NULL where nobody says one, or one that cannot be right. #}
{% macro time_of_sending() -%}
    case
        when reference_event_at is null then event_at
        when time_flag is null then reference_event_at
    end
{%- endmacro %}

{# Ready, sent or failed. 5 (handed to the provider, no answer yet) and 7 (cancelled) are neither. #}
{% macro is_processed() -%}
    status in (1, 2, 3, 4, 6, 8)
{%- endmacro %}

{# Opens, and also clicks, opt-outs and mirror pages: to click is to open. #}
{% macro is_message_tracking() -%}
    url_type in (1, 2, 3, 6, 11)
{%- endmacro %}

{# The activities of the statistics over time; NULL for any other event. #}
{% macro activity() -%}
    case
        when url_id = 1 then 'opens'
        when url_type = 1 then 'clicks'
        when url_type = 5 then 'transactions'
    end
{%- endmacro %}

{# A page with a tag was loaded: its URL is of type web or transaction, or nothing but its tag is known of it. #}
{% macro is_web_hit() -%}
    coalesce(url_type in (4, 5), tag is not null)
{%- endmacro %}
