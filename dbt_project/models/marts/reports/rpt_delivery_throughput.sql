with

-- Sent, failed or handed to the provider. Neither what analysis took out nor what waits or was cancelled.
messages as (
    select
        delivery_id,
        {{ start_of('hour', 'event_at') }} as bucket_at,
        status,
        is_seed
    from {{ ref('fct_messages') }}
    where status in (1, 2, 3, 4, 5)
        and event_at is not null
),

deliveries as (
    select
        delivery_id,
        message_size_bytes
    from {{ ref('dim_deliveries') }}
),

counted as (
    select
        bucket_at,
        delivery_id,
        count(*) as message_count,
        count(*) filter (where {{ is_delivered() }}) as success_count,
        count(*) filter (where status = 2) as error_count
    from messages
    group by bucket_at, delivery_id
),

sized as (
    select
        counted.*,
        deliveries.message_size_bytes,
        case when deliveries.message_size_bytes is null then 0 else counted.message_count end
            as sized_message_count
    from counted
    inner join deliveries
        on counted.delivery_id = deliveries.delivery_id
),

hours as (
    select
        bucket_at,
        cast(sum(message_count) as bigint) as message_count,
        cast(sum(success_count) as bigint) as success_count,
        cast(sum(error_count) as bigint) as error_count,
        cast(sum(sized_message_count) as bigint) as sized_message_count,
        cast(sum(message_count * message_size_bytes * 8) as bigint) as bit_count
    from sized
    group by bucket_at
)

select
    bucket_at,
    cast({{ local_time('bucket_at') }} as timestamp) as local_bucket_at,
    message_count,
    success_count,
    error_count,
    sized_message_count,
    cast(bit_count as double) / 3600 as bits_per_second
from hours
