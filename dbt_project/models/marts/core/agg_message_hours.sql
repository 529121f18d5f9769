{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
        meta={'retention': 'log_statistics'},
    )
}}

{#- Hours of the reporting zone, named by when they begin in UTC: where its clocks are half an hour
    off, those of UTC are none of its. -#}
{%- set sent_at = time_of_sending() -%}
{%- set local_at = local_time(sent_at) -%}
with

-- Sent, failed or handed to the provider. Neither what analysis took out nor what waits or was cancelled.
messages as (
    select
        delivery_id,
        cast({{ sent_at }} - ({{ local_at }} - {{ start_of('hour', local_at) }}) as timestamp) as bucket_at,
        status,
        is_seed
    from {{ ref('fct_messages') }}
    where {{ in_scope() }}
        and status in (1, 2, 3, 4, 5)
        and {{ sent_at }} is not null
)

select
    delivery_id,
    bucket_at,
    cast(count(*) as bigint) as message_count,
    cast(count(*) filter (where {{ is_delivered() }}) as bigint) as success_count,
    cast(count(*) filter (where status = 2) as bigint) as error_count
from messages
group by delivery_id, bucket_at
