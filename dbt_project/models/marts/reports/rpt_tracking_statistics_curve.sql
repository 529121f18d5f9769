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
        and is_in_time_range
),

buckets as (
    select
        bucket,
        cast(bucket_seconds as bigint) as bucket_seconds
    from (
        values
        ('10 minutes', 600),
        ('1 hour', 3600),
        ('3 hours', 10800),
        ('24 hours', 86400)
    ) as sizes (bucket, bucket_seconds) -- noqa: AL05
),

elapsed as (
    select
        events.delivery_id,
        events.activity,
        events.is_machine,
        {{ epoch_microseconds('events.occurred_at') }} - {{ epoch_microseconds('deliveries.sent_at') }}
            as elapsed_us
    from events
    inner join deliveries
        on events.delivery_id = deliveries.delivery_id
    where events.activity is not null
),

-- Every bucket is a whole number of ten minutes: the events themselves are read once.
ten_minutes as (
    select
        delivery_id,
        activity,
        case
            when elapsed_us < 0 then -1
            else {{ integer_divide('elapsed_us', '600000000') }}
        end as tens_elapsed,
        count(*) as event_count,
        count(*) filter (where not is_machine) as human_event_count
    from elapsed
    group by
        delivery_id,
        activity,
        case
            when elapsed_us < 0 then -1
            else {{ integer_divide('elapsed_us', '600000000') }}
        end
),

counted as (
    select
        ten_minutes.delivery_id,
        ten_minutes.activity,
        buckets.bucket,
        buckets.bucket_seconds,
        case
            when ten_minutes.tens_elapsed < 0 then 0
            else {{ integer_divide('ten_minutes.tens_elapsed * 600', 'buckets.bucket_seconds') }} + 1
        end as bucket_number,
        cast(sum(ten_minutes.event_count) as bigint) as event_count,
        cast(sum(ten_minutes.human_event_count) as bigint) as human_event_count
    from ten_minutes
    cross join buckets
    group by
        ten_minutes.delivery_id,
        ten_minutes.activity,
        buckets.bucket,
        buckets.bucket_seconds,
        case
            when ten_minutes.tens_elapsed < 0 then 0
            else {{ integer_divide('ten_minutes.tens_elapsed * 600', 'buckets.bucket_seconds') }} + 1
        end
)

select
    delivery_id,
    activity,
    bucket,
    bucket_seconds,
    cast(bucket_number as bigint) as bucket_number,
    cast(bucket_number * bucket_seconds as bigint) as elapsed_seconds,
    event_count,
    human_event_count,
    cast(sum(event_count) over until_then as bigint) as cumulative_count,
    cast(sum(human_event_count) over until_then as bigint) as human_cumulative_count
from counted
window
    until_then as (
        partition by delivery_id, activity, bucket_seconds
        order by bucket_number asc nulls last
        rows between unbounded preceding and current row
    )
