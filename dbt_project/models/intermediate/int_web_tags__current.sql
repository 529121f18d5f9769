{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
        unique_key='tag_id',
        meta={'touches': 'cast(null as bigint)'},
    )
}}

{{ newest_version(
    'stg_reference__web_tags',
    key=['tag_id'],
    columns=['url_id', 'label', 'url_type', 'folder', 'extra'],
) }}
