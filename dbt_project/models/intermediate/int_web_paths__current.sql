{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
        unique_key=['path_label', 'step_number'],
        meta={'touches': 'cast(null as bigint)'},
    )
}}

{{ newest_version(
    'stg_reference__web_paths',
    key=['path_label', 'step_number'],
    columns=['url_id', 'traffic_source', 'extra'],
) }}
