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
        coalesce(failure_reason, 0) as failure_reason
    from {{ ref('fct_messages') }}
    where {{ in_scope() }}
        and status = 0
),

failure_reasons as (
    select
        failure_reason,
        failure_label
    from {{ ref('failure_reasons') }}
),

rejected as (
    select
        delivery_id,
        count(*) as message_count
    from messages
    group by delivery_id
),

exclusions as (
    select
        delivery_id,
        failure_reason,
        cast(count(*) as bigint) as message_count
    from messages
    group by delivery_id, failure_reason
)

select
    exclusions.delivery_id,
    exclusions.failure_reason,
    coalesce(failure_reasons.failure_label, 'Unknown') as failure_label,
    exclusions.message_count,
    {{ ratio('exclusions.message_count', 'rejected.message_count') }} as share_of_rejected
from exclusions
inner join rejected
    on exclusions.delivery_id = rejected.delivery_id
left join failure_reasons
    on exclusions.failure_reason = failure_reasons.failure_reason
