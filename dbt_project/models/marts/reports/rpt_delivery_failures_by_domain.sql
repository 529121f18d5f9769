{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
    )
}}

with

messages as (
    select
        delivery_id,
        mail_domain,
        status
    from {{ ref('fct_messages') }}
    where {{ in_scope() }}
),

-- Not the dimension: it changes with every recipient, and each change would rebuild all deliveries.
mail_domains as (
    select
        domain,
        domain_label
    from {{ ref('int_mail_domains__current') }}
),

totals as (
    select
        delivery_id,
        count(*) filter (where status = 2) as failure_count,
        count(*) filter (where {{ is_processed() }}) as processed_count
    from messages
    group by delivery_id
),

failures as (
    select
        delivery_id,
        mail_domain,
        cast(count(*) as bigint) as failure_count
    from messages
    where status = 2
    group by delivery_id, mail_domain
)

select
    failures.delivery_id,
    failures.mail_domain,
    {{ domain_label('mail_domains.domain_label') }} as domain_label,
    failures.failure_count,
    {{ ratio('failures.failure_count', 'totals.failure_count') }} as share_of_failures,
    {{ ratio('failures.failure_count', 'totals.processed_count') }} as share_of_processed
from failures
inner join totals
    on failures.delivery_id = totals.delivery_id
left join mail_domains
    on failures.mail_domain = mail_domains.domain
