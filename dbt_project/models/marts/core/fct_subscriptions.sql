{{ config(materialized='view') }}

select
    service_id,
    recipient_id,
    action,
    occurred_at,
    occurred_at <= ingested_at + interval 1 day as is_in_time_range,
    ingested_at,
    source_file,
    line_number as source_line
from {{ ref('int_subscriptions__current') }}
