{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
    )
}}

with

messages as (
    select
        delivery_id,
        status,
        coalesce(failure_reason, 0) as failure_reason
    from {{ ref('fct_messages') }}
    where {{ in_scope() }}
),

failure_reasons as (
    select
        failure_reason,
        failure_label
    from {{ ref('failure_reasons') }}
),

totals as (
    select
        delivery_id,
        count(*) filter (where status = 2) as failure_count,
        count(*) filter (where {{ is_processed() }}) as processed_count
    from messages
    group by delivery_id
),

failures as (
    select
        delivery_id,
        failure_reason,
        cast(count(*) as bigint) as failure_count
    from messages
    where status = 2
    group by delivery_id, failure_reason
)

select
    failures.delivery_id,
    failures.failure_reason,
    coalesce(failure_reasons.failure_label, 'Unknown') as failure_label,
    failures.failure_count,
    {{ ratio('failures.failure_count', 'totals.failure_count') }} as share_of_failures,
    {{ ratio('failures.failure_count', 'totals.processed_count') }} as share_of_processed
from failures
inner join totals
    on failures.delivery_id = totals.delivery_id
left join failure_reasons
    on failures.failure_reason = failure_reasons.failure_reason
