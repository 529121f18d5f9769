{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
    )
}}

with

events as (
    select
        delivery_id,
        {{ half_hour_bucket('occurred_at') }} as bucket_at,
        {{ activity() }} as activity,
        is_machine
    from {{ ref('fct_tracking_events') }}
    where {{ in_scope() }}
        and is_in_time_range
),

counted as (
    select
        delivery_id,
        bucket_at,
        cast(count(*) filter (where activity = 'opens') as bigint) as open_count,
        cast(count(*) filter (where activity = 'opens' and not is_machine) as bigint) as human_open_count,
        cast(count(*) filter (where activity = 'clicks') as bigint) as click_count,
        cast(count(*) filter (where activity = 'clicks' and not is_machine) as bigint) as human_click_count,
        cast(count(*) filter (where activity = 'transactions') as bigint) as transaction_count,
        cast(count(*) filter (where activity = 'transactions' and not is_machine) as bigint)
            as human_transaction_count
    from events
    where activity is not null
    group by delivery_id, bucket_at
)

select
    delivery_id,
    bucket_at,
    cast({{ local_time('bucket_at') }} as timestamp) as local_bucket_at,
    open_count,
    human_open_count,
    click_count,
    human_click_count,
    transaction_count,
    human_transaction_count
from counted
