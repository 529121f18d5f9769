with

declared as (
    select
        recipient_id,
        email,
        first_name,
        last_name,
        time_zone,
        language,
        created_at,
        is_denylisted
    from {{ ref('int_recipients__current') }}
),

events as (
    select recipient_id from {{ ref('fct_tracking_events') }}
),

messages as (
    select recipient_id from {{ ref('fct_messages') }}
),

esp_events as (
    select recipient_id from {{ ref('fct_esp_events') }}
),

subscriptions as (
    select recipient_id from {{ ref('fct_subscriptions') }}
),

members as (
    select recipient_id from declared
    union
    select recipient_id from events
    union
    select recipient_id from messages
    union
    select recipient_id from esp_events
    union
    select recipient_id from subscriptions
)

select
    members.recipient_id,
    coalesce(
        case when {{ is_erased('members.recipient_id') }} then 'erased recipient' end,
        nullif(
            {{ trimmed("coalesce(declared.first_name, '') || ' ' || coalesce(declared.last_name, '')") }}, ''
        ),
        'recipient ' || cast(members.recipient_id as string)
    ) as recipient_label,
    declared.email,
    {{ mail_domain_of('declared.email') }} as mail_domain,
    declared.first_name,
    declared.last_name,
    declared.time_zone,
    declared.language,
    declared.created_at,
    coalesce(declared.is_denylisted, false) as is_denylisted,
    declared.recipient_id is null as is_unknown,
    {{ is_erased('members.recipient_id') }} as is_erased
from members
left join declared
    on members.recipient_id = declared.recipient_id
