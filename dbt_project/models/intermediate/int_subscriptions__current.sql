{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
        unique_key=['service_id', 'recipient_id', 'occurred_at', 'action'],
        meta={'touches': 'cast(null as bigint)'},
    )
}}

{{ newest_version(
    'stg_reference__subscriptions',
    key=['service_id', 'recipient_id', 'occurred_at', 'action'],
    columns=[
        'extra',
    ],
) }}
