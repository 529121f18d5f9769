{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
        unique_key=['delivery_id', 'url_id'],
        meta={'touches': 'nullif(delivery_id, 0)'},
    )
}}

{{ newest_version(
    'stg_reference__tracked_urls',
    key=['delivery_id', 'url_id'],
    columns=[
        'label', 'source_url', 'category', 'url_type', 'link_position', 'tracking_mode', 'extra',
    ],
) }}
