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
        target_count,
        rejected_count
    from {{ ref('dim_deliveries') }}
    where {{ in_scope() }}
),

messages as (
    select
        delivery_id,
        status,
        failure_reason
    from {{ ref('fct_messages') }}
    where {{ in_scope() }}
),

indicators as (
    select
        delivery_id,
        delivery_label,
        sent_at,
        to_deliver_count,
        success_count,
        error_count
    from {{ ref('rpt_tracking_indicators') }}
    where {{ in_scope() }}
),

counted as (
    select
        delivery_id,
        count(*) as message_count,
        count(*) filter (where status = 0) as ignored_count,
        count(*) filter (where status = 2 and failure_reason in (1, 2)) as new_quarantine_count
    from messages
    group by delivery_id
)

select
    indicators.delivery_id,
    indicators.delivery_label,
    indicators.sent_at,
    cast(coalesce(deliveries.target_count, counted.message_count, 0) as bigint) as target_count,
    cast(coalesce(deliveries.rejected_count, counted.ignored_count, 0) as bigint) as rejected_count,
    indicators.to_deliver_count,
    indicators.success_count,
    {{ ratio('indicators.success_count', 'indicators.to_deliver_count') }} as success_rate,
    indicators.error_count,
    {{ ratio('indicators.error_count', 'indicators.to_deliver_count') }} as error_rate,
    cast(coalesce(counted.new_quarantine_count, 0) as bigint) as new_quarantine_count
from indicators
left join deliveries
    on indicators.delivery_id = deliveries.delivery_id
left join counted
    on indicators.delivery_id = counted.delivery_id
