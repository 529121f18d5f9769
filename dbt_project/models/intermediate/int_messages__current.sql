{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
        unique_key='message_id',
        meta={'touches': 'delivery_id', 'logged_key': 'message_id'},
    )
}}

{{ newest_version(
    'stg_reference__messages',
    key=['message_id'],
    told_by_arrival=['time_flag'],
    in_parts_by='message_id',
    columns=[
        'delivery_id', 'recipient_id', 'address', 'mail_domain', 'status', 'failure_reason', 'event_at',
        'time_flag', 'content_format', 'is_seed', 'is_control', 'extra',
    ],
) }}
