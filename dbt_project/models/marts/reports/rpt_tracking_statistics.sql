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

-- The smallest elapsed time such that the events up to it are at least so many tenths of all.
measured as (
    select
        delivery_id,
        activity,
        count(*) as total_count,
        count(*) filter (where is_human) as human_total_count,
        {{ tenths('elapsed_us', 'true') }} as reached_us,
        {{ tenths('elapsed_us', 'is_human') }} as human_reached_us
    from elapsed
    group by delivery_id, activity
),

numbers as (
    select cast(tenth as bigint) as tenth
    from (values (1), (2), (3), (4), (5), (6), (7), (8), (9)) as numbers (tenth) -- noqa: AL05
)

select
    measured.delivery_id,
    measured.activity,
    10 * numbers.tenth as percentile,
    cast({{ tenth_of('measured.reached_us', 'numbers.tenth') }} as double) / 1000000 as seconds_to_reach,
    cast({{ tenth_of('measured.human_reached_us', 'numbers.tenth') }} as double) / 1000000
        as human_seconds_to_reach,
    measured.total_count,
    measured.human_total_count
from measured
cross join numbers
