{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
        meta={'logged_key': 'message_id'},
    )
}}

with

events as (
    select
        event_key,
        message_id,
        delivery_id,
        event_kind,
        bounce_kind,
        {{ lowered("coalesce(bounce_text, '')") }} as bounce_text,
        occurred_at
    from {{ ref('int_esp_events__resolved') }}
    where {{ in_scope() }}
        and event_kind in ('delivered', 'bounce', 'complaint')
        and message_id <> 0
        -- A clock that is off decides nothing.
        and time_flag is null
        -- Of a message that no extract names, each event may say another delivery, and nobody asks what
        -- became of it.
        and message_id in (
            select message_id from {{ ref('int_messages__current') }}
            where {{ in_scope() }}
        )
),

numbered as (
    select
        *,
        row_number() over (
            partition by message_id
            order by
                occurred_at desc,
                case event_kind when 'complaint' then 1 when 'bounce' then 2 else 3 end asc,
                event_key asc nulls last
        ) as age
    from events
)

select
    message_id,
    delivery_id,
    event_kind as outcome,
    occurred_at as outcome_at,
    case when event_kind = 'delivered' then 1 else 2 end as status,
    -- Codes of seed failure_reasons. Why a soft bounce came stands in the answer of the other server only.
    case
        when event_kind = 'delivered' then 0
        when event_kind = 'complaint' then 8
        when bounce_kind = 'hard' then 1
        when bounce_kind = 'dropped' then 20
        when {{ matches_pattern('bounce_text', 'mailbox ?full|full mailbox|quota|[45][.]2[.]2') }} then 5
        when {{ matches_pattern('bounce_text', '[45][.]7[.]|block|refused|rejected|spam') }} then 20
        when {{ matches_pattern('bounce_text', '[45][.]1[.]2|dns|domain') }} then 2
        else 3
    end as failure_reason
from numbered
where age = 1
