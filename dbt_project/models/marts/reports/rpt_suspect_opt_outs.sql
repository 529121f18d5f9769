{{ config(materialized='view') }}

with

opt_outs as (
    select * from {{ ref('fct_opt_outs') }}
),

suspects as (
    select * from opt_outs
    where is_machine
),

-- What people did with the same messages: who unsubscribed by hand as well is no suspect case to mend.
human_opt_outs as (
    select distinct message_id
    from opt_outs
    where not is_machine
        and message_id <> 0
),

human_events as (
    select distinct message_id
    from {{ ref('fct_tracking_events') }}
    where not is_machine
        and message_id <> 0
        and message_id in (select message_id from suspects)
),

tracked_urls as (
    select * from {{ ref('dim_tracked_urls') }}
),

deliveries as (
    select * from {{ ref('dim_deliveries') }}
),

recipients as (
    select * from {{ ref('dim_recipients') }}
)

select
    suspects.event_key,
    suspects.delivery_id,
    deliveries.delivery_label,
    suspects.message_id,
    suspects.recipient_id,
    suspects.occurred_at,
    suspects.url_id,
    tracked_urls.label,
    suspects.source,
    suspects.machine_rule,
    suspects.machine_confidence,
    human_opt_outs.message_id is not null as has_human_opt_out,
    human_events.message_id is not null as has_human_event,
    recipients.is_denylisted
from suspects
left join human_opt_outs
    on suspects.message_id = human_opt_outs.message_id
left join human_events
    on suspects.message_id = human_events.message_id
left join tracked_urls
    on suspects.delivery_id = tracked_urls.delivery_id
        and suspects.url_id = tracked_urls.url_id
left join deliveries
    on suspects.delivery_id = deliveries.delivery_id
left join recipients
    on suspects.recipient_id = recipients.recipient_id
