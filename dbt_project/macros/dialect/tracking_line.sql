{# A landed row of the tracking logs as the line that it was, to the letter: its fields joined by tabs. The text of the
   first five is landed only where a server wrote their values in another way than usual. DuckDB and Spark format values
   by functions of other names; log_ingest says the same for DuckDB (formats/trackinglogd.py). #}
{% macro tracking_line() -%}
    {{ return(adapter.dispatch('tracking_line')()) }}
{%- endmacro %}

{% macro default__tracking_line() -%}
    concat_ws(
        chr(9),
        coalesce(log_id, printf('%s0x%016X', server, pointer)),
        coalesce(logged_at_text, strftime(occurred_at, '%Y-%m-%dT%H:%M:%S.%g')),
        coalesce(message_id_text, lower(hex(message_id))),
        coalesce(delivery_id_text, lower(hex(delivery_id))),
        coalesce(url_id_text, lower(hex(url_id))),
        forced_delivery_id, visitor_id, content_kind, params, user_agent, ip, forwarded_for, extra
    )
{%- endmacro %}

{% macro spark__tracking_line() -%}
    concat_ws(
        chr(9),
        coalesce(log_id, format_string('%s0x%016X', server, pointer)),
        coalesce(logged_at_text, date_format(occurred_at, "yyyy-MM-dd'T'HH:mm:ss.SSS")),
        coalesce(message_id_text, lower(hex(message_id))),
        coalesce(delivery_id_text, lower(hex(delivery_id))),
        coalesce(url_id_text, lower(hex(url_id))),
        forced_delivery_id, visitor_id, content_kind, params, user_agent, ip, forwarded_for, extra
    )
{%- endmacro %}
