{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
        unique_key='delivery_id',
        meta={'touches': 'delivery_id'},
    )
}}

{{ newest_version(
    'stg_reference__deliveries',
    key=['delivery_id'],
    columns=[
        'internal_name', 'label', 'campaign_label', 'channel', 'typology', 'is_proof', 'sent_at',
        'validity_end_at', 'target_count', 'rejected_count', 'to_deliver_count', 'html_content',
        'text_content', 'message_size_bytes', 'extra',
    ],
) }}
