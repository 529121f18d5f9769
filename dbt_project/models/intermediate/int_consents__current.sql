{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
        unique_key=['recipient_id', 'purpose'],
        meta={'touches': 'cast(null as bigint)'},
    )
}}

{{ newest_version(
    'stg_reference__consents',
    key=['recipient_id', 'purpose'],
    columns=[
        'granted_at', 'withdrawn_at', 'extra',
    ],
) }}
