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

tenths as (
    select cast(tenth as bigint) as tenth
    from (values (1), (2), (3), (4), (5), (6), (7), (8), (9)) as numbers (tenth) -- noqa: AL05
),

elapsed as (
    select
        events.delivery_id,
        events.activity,
        {{ epoch_microseconds('events.occurred_at') }} - {{ epoch_microseconds('deliveries.sent_at') }}
            as elapsed_us,
        cast(not events.is_machine as integer) as human_count
    from events
    inner join deliveries
        on events.delivery_id = deliveries.delivery_id
    where events.activity is not null
),

-- One event after the other. Which of several at one moment comes first does not matter: whatever they reach,
-- they reach it at that moment.
cumulated as (
    select
        delivery_id,
        activity,
        elapsed_us,
        human_count,
        cast(row_number() over until_then as bigint) as reached_count,
        cast(sum(human_count) over until_then as bigint) as human_reached_count,
        count(*) over all_of_it as total_count,
        cast(sum(human_count) over all_of_it as bigint) as human_total_count,
        greatest(cast(sum(human_count) over all_of_it as bigint), 1) as human_divisor
    from elapsed
    window
        until_then as (
            partition by delivery_id, activity
            order by elapsed_us asc nulls last
            rows between unbounded preceding and current row
        ),
        all_of_it as (partition by delivery_id, activity)
),

-- Whole tenths reached before and after each event, in integers: a double would miss some exact tenths.
reached as (
    select
        delivery_id,
        activity,
        elapsed_us,
        total_count,
        human_total_count,
        {{ integer_divide('10 * (reached_count - 1)', 'total_count') }} as tenths_before,
        {{ integer_divide('10 * reached_count', 'total_count') }} as tenths_after,
        {{ integer_divide('10 * (human_reached_count - human_count)', 'human_divisor') }}
            as human_tenths_before,
        {{ integer_divide('10 * human_reached_count', 'human_divisor') }} as human_tenths_after
    from cumulated
),

-- Most events reach no further tenth.
steps as (
    select
        *,
        cast(elapsed_us as double) / 1000000 as elapsed_seconds
    from reached
    where tenths_after > tenths_before
        or human_tenths_after > human_tenths_before
)

select
    steps.delivery_id,
    steps.activity,
    10 * tenths.tenth as percentile,
    min(steps.elapsed_seconds) filter (
        where tenths.tenth > steps.tenths_before and tenths.tenth <= steps.tenths_after
    ) as seconds_to_reach,
    min(steps.elapsed_seconds) filter (
        where tenths.tenth > steps.human_tenths_before and tenths.tenth <= steps.human_tenths_after
    ) as human_seconds_to_reach,
    steps.total_count,
    steps.human_total_count
from steps
cross join tenths
group by
    steps.delivery_id,
    steps.activity,
    tenths.tenth,
    steps.total_count,
    steps.human_total_count
