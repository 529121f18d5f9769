{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
    )
}}

with

summary as (
    select * from {{ ref('rpt_delivery_summary') }}
    where {{ in_scope() }}
),

indicators as (
    select * from {{ ref('rpt_tracking_indicators') }}
    where {{ in_scope() }}
),

messages as (
    select
        delivery_id,
        status,
        -- When it was sent, not when a provider told of a bounce or a complaint days later.
        {{ time_of_sending() }} as sent_at
    from {{ ref('fct_messages') }}
    where {{ in_scope() }}
),

events as (
    select
        delivery_id,
        occurred_at,
        is_in_time_range,
        ingested_at
    from {{ ref('fct_tracking_events') }}
    where {{ in_scope() }}
),

statuses as (
    select
        delivery_id,
        count(*) filter (where status = 0) as ignored_count,
        count(*) filter (where status = 1) as sent_count,
        count(*) filter (where status = 2) as failed_count,
        count(*) filter (where status = 3) as taken_into_account_count,
        count(*) filter (where status = 4) as received_on_mobile_count,
        count(*) filter (where status = 5) as sent_to_provider_count,
        count(*) filter (where status = 6) as pending_count,
        count(*) filter (where status = 7) as cancelled_count,
        count(*) filter (where status = 8) as prepared_count,
        min(sent_at) filter (where status in (1, 2, 3, 4, 5)) as first_sent_at,
        max(sent_at) filter (where status in (1, 2, 3, 4, 5)) as last_sent_at
    from messages
    group by delivery_id
),

-- Reasons that the list does not name have one label.
exclusions as (
    select
        delivery_id,
        failure_label,
        sum(message_count) as message_count
    from {{ ref('rpt_delivery_exclusions') }}
    where {{ in_scope() }}
    group by delivery_id, failure_label
),

excluded as (
    select
        delivery_id,
        {{ json_of_counts('failure_label', 'message_count') }} as exclusions_by_reason
    from exclusions
    group by delivery_id
),

failures as (
    select
        delivery_id,
        failure_label,
        sum(failure_count) as failure_count
    from {{ ref('rpt_delivery_failures_by_reason') }}
    where {{ in_scope() }}
    group by delivery_id, failure_label
),

failed as (
    select
        delivery_id,
        {{ json_of_counts('failure_label', 'failure_count') }} as failures_by_reason
    from failures
    group by delivery_id
),

activity as (
    select
        delivery_id,
        max(occurred_at) filter (where is_in_time_range) as last_event_at,
        max(ingested_at) as last_ingested_at
    from events
    group by delivery_id
)

select
    summary.delivery_id,
    summary.delivery_label,
    summary.sent_at,
    summary.target_count,
    summary.rejected_count,
    summary.to_deliver_count,
    cast(coalesce(statuses.ignored_count, 0) as bigint) as ignored_count,
    cast(coalesce(statuses.sent_count, 0) as bigint) as sent_count,
    cast(coalesce(statuses.failed_count, 0) as bigint) as failed_count,
    cast(coalesce(statuses.taken_into_account_count, 0) as bigint) as taken_into_account_count,
    cast(coalesce(statuses.received_on_mobile_count, 0) as bigint) as received_on_mobile_count,
    cast(coalesce(statuses.sent_to_provider_count, 0) as bigint) as sent_to_provider_count,
    cast(coalesce(statuses.pending_count, 0) as bigint) as pending_count,
    cast(coalesce(statuses.cancelled_count, 0) as bigint) as cancelled_count,
    cast(coalesce(statuses.prepared_count, 0) as bigint) as prepared_count,
    summary.success_count,
    summary.success_rate,
    summary.error_count,
    summary.error_rate,
    summary.new_quarantine_count,
    excluded.exclusions_by_reason,
    failed.failures_by_reason,
    {{ ratio(
        'summary.to_deliver_count - statuses.pending_count - statuses.prepared_count', 'summary.to_deliver_count'
    ) }} as sending_progress,
    statuses.first_sent_at,
    statuses.last_sent_at,
    indicators.recipient_open_count,
    indicators.human_recipient_open_count,
    indicators.total_open_count,
    indicators.human_total_open_count,
    indicators.estimated_recipient_open_count,
    indicators.human_estimated_recipient_open_count,
    indicators.machine_only_open_count,
    indicators.projected_recipient_open_count,
    indicators.projected_open_rate,
    indicators.recipient_click_count,
    indicators.human_recipient_click_count,
    indicators.person_click_count,
    indicators.human_person_click_count,
    indicators.total_click_count,
    indicators.human_total_click_count,
    indicators.opt_out_click_count,
    indicators.human_opt_out_click_count,
    indicators.mirror_page_click_count,
    indicators.human_mirror_page_click_count,
    indicators.complaint_count,
    indicators.raw_reactivity,
    indicators.human_raw_reactivity,
    indicators.estimated_reactivity,
    indicators.human_estimated_reactivity,
    indicators.page_visit_count,
    indicators.human_page_visit_count,
    indicators.transaction_count,
    indicators.human_transaction_count,
    indicators.transaction_amount,
    indicators.human_transaction_amount,
    activity.last_event_at,
    activity.last_ingested_at
from summary
inner join indicators
    on summary.delivery_id = indicators.delivery_id
left join statuses
    on summary.delivery_id = statuses.delivery_id
left join excluded
    on summary.delivery_id = excluded.delivery_id
left join failed
    on summary.delivery_id = failed.delivery_id
left join activity
    on summary.delivery_id = activity.delivery_id
