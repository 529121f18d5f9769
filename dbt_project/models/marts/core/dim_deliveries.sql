with

declared as (
    select
        delivery_id,
        internal_name,
        label,
        campaign_label,
        channel,
        typology,
        is_proof,
        sent_at,
        validity_end_at,
        target_count,
        rejected_count,
        to_deliver_count,
        message_size_bytes
    from {{ ref('int_deliveries__current') }}
),

events as (
    select delivery_id from {{ ref('fct_tracking_events') }}
    union
    select delivery_id from {{ ref('fct_esp_events') }}
),

messages as (
    select
        delivery_id,
        -- When it was sent, not when the provider told what became of it.
        {{ time_of_sending() }} as event_at
    from {{ ref('fct_messages') }}
),

members as (
    select delivery_id from declared
    union
    select delivery_id from events
    union
    select delivery_id from messages
    union
    -- Of which reports are all that is left.
    select delivery_id from {{ ref('stg_landed__purges') }}
),

-- Of a delivery whose messages were purged, the purge knows when the first of them was sent.
sent as (
    select
        delivery_id,
        event_at
    from messages
    union all
    select
        delivery_id,
        first_event_at as event_at
    from {{ ref('stg_landed__purges') }}
    where kind = 'delivery_logs'
),

first_messages as (
    select
        delivery_id,
        min(event_at) as first_event_at
    from sent
    group by delivery_id
)

select
    members.delivery_id,
    declared.internal_name,
    declared.label as delivery_label,
    declared.campaign_label,
    declared.channel,
    declared.typology,
    coalesce(declared.is_proof, false) as is_proof,
    coalesce(declared.sent_at, first_messages.first_event_at) as sent_at,
    declared.sent_at is null and first_messages.first_event_at is not null as is_sent_at_derived,
    declared.validity_end_at,
    declared.target_count,
    declared.rejected_count,
    declared.to_deliver_count,
    declared.message_size_bytes,
    declared.delivery_id is null as is_unknown
from members
left join declared
    on members.delivery_id = declared.delivery_id
left join first_messages
    on members.delivery_id = first_messages.delivery_id
