-- Each act once. What a provider tells of an act that our own logs hold is left out, but for its verdict.
with

judged as (
    select * from {{ ref('int_tracking_events__judged') }}
),

reconciled as (
    select
        event_key,
        is_counted,
        is_provider_machine
    from {{ ref('int_tracking_events__reconciled') }}
),

provider_rule as (
    select
        min(rule) as rule,
        min(confidence) as confidence
    from {{ ref('machine_rules') }}
    where kind = 'provider_verdict'
)

select
    judged.event_key,
    judged.source,
    judged.server,
    judged.occurred_at,
    -- Without consent an open is counted, and nothing leads to who opened.
    case when judged.is_anonymous then 0 else judged.message_id end as message_id,
    judged.delivery_id,
    judged.url_id,
    judged.url_type,
    case when judged.is_anonymous then 0 else judged.recipient_id end as recipient_id,
    case when not judged.is_anonymous then judged.visitor_id end as visitor_id,
    judged.content_kind,
    judged.params,
    judged.device_class,
    judged.os_name,
    judged.os_version,
    judged.browser_name,
    judged.browser_version,
    judged.user_agent_key,
    judged.mail_proxy,
    judged.is_machine or coalesce(reconciled.is_provider_machine, false) as is_machine,
    case
        when judged.is_machine then judged.machine_rule
        when reconciled.is_provider_machine then provider_rule.rule
    end as machine_rule,
    case
        when judged.is_machine then judged.machine_confidence
        when reconciled.is_provider_machine then provider_rule.confidence
    end as machine_confidence,
    judged.ruleset_version,
    judged.time_flag,
    judged.is_in_time_range,
    judged.is_pointer_conflict,
    judged.is_anonymous,
    judged.ingested_at,
    judged.source_file,
    judged.source_line,
    judged.is_web_hit
from judged
cross join provider_rule
left join reconciled
    on judged.event_key = reconciled.event_key
where coalesce(reconciled.is_counted, true)
