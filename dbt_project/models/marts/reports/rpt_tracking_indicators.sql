{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
    )
}}

with

members as (
    select
        delivery_id,
        delivery_label,
        sent_at
    from {{ ref('dim_deliveries') }}
    where {{ in_scope() }}
),

messages as (
    select
        delivery_id,
        status,
        failure_reason,
        content_format,
        is_seed
    from {{ ref('fct_messages') }}
    where {{ in_scope() }}
),

events as (
    select
        delivery_id,
        message_id,
        url_id,
        url_type,
        visitor_id,
        is_machine
    from {{ ref('fct_tracking_events') }}
    where {{ in_scope() }}
),

{{ tracking_indicators(key=['delivery_id'], attributes=['delivery_label', 'sent_at']) }}
