{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
        unique_key='recipient_id',
        meta={'touches': 'cast(null as bigint)', 'logged_key': 'recipient_id'},
    )
}}

{{ newest_version(
    'stg_reference__recipients',
    key=['recipient_id'],
    in_parts_by='recipient_id',
    columns=[
        'email', 'first_name', 'last_name', 'time_zone', 'language', 'created_at', 'is_denylisted',
        'extra',
    ],
) }}
