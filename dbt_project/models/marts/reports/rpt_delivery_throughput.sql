with

counted as (
    select * from {{ ref('agg_message_hours') }}
),

deliveries as (
    select
        delivery_id,
        message_size_bytes
    from {{ ref('dim_deliveries') }}
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
