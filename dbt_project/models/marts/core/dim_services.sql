with

declared as (
    select
        service_id,
        label,
        channel
    from {{ ref('int_services__current') }}
),

subscriptions as (
    select service_id from {{ ref('fct_subscriptions') }}
),

members as (
    select service_id from declared
    union
    select service_id from subscriptions
)

select
    members.service_id,
    coalesce(nullif({{ trimmed('declared.label') }}, ''), 'service ' || cast(members.service_id as string))
        as service_label,
    declared.channel,
    declared.service_id is null as is_unknown
from members
left join declared
    on members.service_id = declared.service_id
