{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
        unique_key='service_id',
        meta={'touches': 'cast(null as bigint)'},
    )
}}

{{ newest_version(
    'stg_reference__services',
    key=['service_id'],
    columns=[
        'label', 'channel', 'extra',
    ],
) }}
