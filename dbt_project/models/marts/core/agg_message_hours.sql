{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
        meta={'retention': 'log_statistics'},
    )
}}

with

-- Sent, failed or handed to the provider. Neither what analysis took out nor what waits or was cancelled.
messages as (
    select
        delivery_id,
        {{ start_of('hour', time_of_sending()) }} as bucket_at,
        status,
        is_seed
    from {{ ref('fct_messages') }}
    where {{ in_scope() }}
        and status in (1, 2, 3, 4, 5)
        and {{ time_of_sending() }} is not null
)

select
    delivery_id,
    bucket_at,
    cast(count(*) as bigint) as message_count,
    cast(count(*) filter (where {{ is_delivered() }}) as bigint) as success_count,
    cast(count(*) filter (where status = 2) as bigint) as error_count
from messages
group by delivery_id, bucket_at
