{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
        unique_key='domain',
        meta={'touches': 'cast(null as bigint)'},
    )
}}

{{ newest_version(
    'stg_reference__mail_domains',
    key=['domain'],
    columns=[
        'domain_label', 'extra',
    ],
) }}
