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
        status,
        failure_reason
    from {{ ref('fct_messages') }}
    where {{ in_scope() }}
),

indicators as (
    select
        delivery_id,
        mail_domain,
        domain_label,
        success_count,
        recipient_open_count,
        human_recipient_open_count,
        person_click_count,
        human_person_click_count,
        opt_out_click_count,
        human_opt_out_click_count
    from {{ ref('rpt_tracking_indicators_by_domain') }}
    where {{ in_scope() }}
),

counted as (
    select
        delivery_id,
        mail_domain,
        count(*) filter (where {{ is_processed() }}) as processed_count,
        count(*) filter (where status = 2 and failure_reason = 1) as hard_bounce_count,
        count(*) filter (where status = 2 and failure_reason in (2, 3, 4, 5, 6, 20)) as soft_bounce_count
    from messages
    group by delivery_id, mail_domain
),

counts as (
    select
        indicators.*,
        cast(coalesce(counted.processed_count, 0) as bigint) as processed_count,
        cast(coalesce(counted.hard_bounce_count, 0) as bigint) as hard_bounce_count,
        cast(coalesce(counted.soft_bounce_count, 0) as bigint) as soft_bounce_count
    from indicators
    left join counted
        on indicators.delivery_id = counted.delivery_id
            and indicators.mail_domain = counted.mail_domain
)

select
    delivery_id,
    mail_domain,
    domain_label,
    processed_count,
    success_count as delivered_count,
    {{ ratio('success_count', 'processed_count') }} as delivered_rate,
    hard_bounce_count,
    {{ ratio('hard_bounce_count', 'processed_count') }} as hard_bounce_rate,
    soft_bounce_count,
    {{ ratio('soft_bounce_count', 'processed_count') }} as soft_bounce_rate,
    recipient_open_count,
    human_recipient_open_count,
    {{ ratio('recipient_open_count', 'success_count') }} as recipient_open_rate,
    {{ ratio('human_recipient_open_count', 'success_count') }} as human_recipient_open_rate,
    person_click_count,
    human_person_click_count,
    {{ ratio('person_click_count', 'success_count') }} as person_click_rate,
    {{ ratio('human_person_click_count', 'success_count') }} as human_person_click_rate,
    opt_out_click_count,
    human_opt_out_click_count,
    {{ ratio('opt_out_click_count', 'success_count') }} as opt_out_click_rate,
    {{ ratio('human_opt_out_click_count', 'success_count') }} as human_opt_out_click_rate
from counts
