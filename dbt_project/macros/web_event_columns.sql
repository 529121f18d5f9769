{# What a fact shows of a web hit beside tracking_event_columns(), in this order. #}
{% macro web_event_columns() %}
    attribution,
    tag,
    amount,
    amount_flag,
    article_count,
    article_count_flag,
    custom_params
{%- endmacro %}
