with

declared as (
    select
        domain,
        domain_label
    from {{ ref('int_mail_domains__current') }}
),

messages as (
    select mail_domain from {{ ref('fct_messages') }}
),

recipients as (
    select mail_domain from {{ ref('dim_recipients') }}
),

members as (
    select domain as mail_domain from declared
    union
    select mail_domain from messages
    union
    select mail_domain from recipients
)

select
    members.mail_domain,
    {{ domain_label('declared.domain_label') }} as domain_label,
    declared.domain is null as is_unknown
from members
left join declared
    on members.mail_domain = declared.domain
