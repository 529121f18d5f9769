{{ config(materialized='view') }}

with

messages as (
    select * from {{ ref('int_messages__current') }}
),

outcomes as (
    select * from {{ ref('int_messages__outcomes') }}
),

-- Where the platform has no final word yet, the provider has it. A message that was sent may still come back.
told as (
    select
        messages.*,
        outcomes.status as outcome_status,
        outcomes.failure_reason as outcome_reason,
        outcomes.outcome_at,
        coalesce(
            messages.status in (3, 5, 6, 8)
            or (
                messages.status = 1
                and outcomes.status = 2
                and (messages.event_at is null or outcomes.outcome_at > messages.event_at)
            ),
            false
        ) and outcomes.message_id is not null as is_told_by_provider
    from messages
    left join outcomes
        on messages.message_id = outcomes.message_id
)

select
    message_id,
    delivery_id,
    recipient_id,
    mail_domain,
    case when is_told_by_provider then outcome_status else status end as status,
    case when is_told_by_provider then outcome_reason else failure_reason end as failure_reason,
    case when is_told_by_provider then outcome_at else event_at end as event_at,
    event_at as reference_event_at,
    time_flag,
    case when is_told_by_provider then 'esp_event' else 'reference' end as status_source,
    content_format,
    is_seed,
    is_control,
    ingested_at,
    source_file,
    line_number as source_line
from told
