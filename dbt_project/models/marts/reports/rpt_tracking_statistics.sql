{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
    )
}}

with

deliveries as (
    select
        delivery_id,
        sent_at
    from {{ ref('dim_deliveries') }}
    where {{ in_scope() }}
        and {{ in_part('delivery_id', ref('fct_tracking_events')) }}
        and sent_at is not null
),

events as (
    select
        delivery_id,
        {{ activity() }} as activity,
        occurred_at,
        is_machine
    from {{ ref('fct_tracking_events') }}
    where {{ in_scope() }}
        and {{ in_part('delivery_id', ref('fct_tracking_events')) }}
        and is_in_time_range
),

elapsed as (
    select
        events.delivery_id,
        events.activity,
        {{ epoch_microseconds('events.occurred_at') }} - {{ epoch_microseconds('deliveries.sent_at') }}
            as elapsed_us,
        not events.is_machine as is_human
    from events
    inner join deliveries
        on events.delivery_id = deliveries.delivery_id
    where events.activity is not null
),

{{ tenths_reached() }}
