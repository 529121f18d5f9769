{# The links of a delivery's content and the line each belongs to: the same label is the same line, known by its
   smallest link; a link without a label stands alone. #}
{% macro link_lines(tracked_urls) -%}
    select
        delivery_id,
        url_id,
        label,
        category,
        url_type,
        is_unknown,
        min(url_id) over (partition by delivery_id, coalesce(label, cast(url_id as string)), label is null)
            as line_url_id
    from {{ tracked_urls }}
{%- endmacro %}
