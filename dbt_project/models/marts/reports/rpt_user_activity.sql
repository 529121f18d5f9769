{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
    )
}}

{#- Half-hours of the reporting zone: where its clocks are a quarter of an hour off, those of UTC would lie
    across its days. -#}
{%- set local_at = local_time('occurred_at') -%}
with

events as (
    select
        delivery_id,
        cast(occurred_at - ({{ local_at }} - {{ half_hour_bucket(local_at) }}) as timestamp) as bucket_at,
        {{ half_hour_bucket(local_at) }} as local_bucket_at,
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
        -- One, but where clocks are moved in the middle of a half-hour.
        min(local_bucket_at) as local_bucket_at,
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
    cast(local_bucket_at as timestamp) as local_bucket_at,
    open_count,
    human_open_count,
    click_count,
    human_click_count,
    transaction_count,
    human_transaction_count
from counted
