-- One row per distinct user agent, so that no rule is evaluated once per event. A view: whoever reads it sees
-- the rules as they are now.
with

user_agents as (
    select * from {{ ref('stg_enrichment__user_agents') }}
    where {{ is_within_run_window() }}
),

rules as (
    select * from {{ ref('machine_rules') }}
),

known_bots as (
    select * from {{ ref('known_bots') }}
),

newest as (
    select
        *,
        row_number() over (
            partition by user_agent_key
            order by batch_id desc, ingested_at desc, parser_version desc
        ) as age
    from user_agents
),

proxied as (
    select
        newest.user_agent_key,
        min_by(rules.rule, rules.priority) as mail_proxy
    from newest
    inner join rules
        on rules.kind = 'user_agent_contains'
            and not rules.is_machine
            and instr(newest.user_agent, rules.pattern) > 0
    where newest.age = 1
    group by newest.user_agent_key
),

-- By the maintained lists, whose word landed with the parsing, and by what an analyst adds; what an analyst
-- excepts is cleared of both. Some lists hold mail clients too: a person sits behind these.
listed as (
    select newest.user_agent_key
    from newest
    left join known_bots
        on instr({{ lowered('newest.user_agent') }}, known_bots.pattern) > 0
    where newest.age = 1
    group by newest.user_agent_key
    having not coalesce(bool_or(known_bots.is_exception), false)
        and (
            count(known_bots.pattern) > 0
            or bool_or(newest.crawler_name is not null and newest.mail_client_name is null)
        )
),

matched as (
    select
        newest.user_agent_key,
        rules.rule,
        rules.confidence,
        rules.priority
    from newest
    -- Fans out on purpose: every rule that holds, of which the verdict takes one.
    inner join rules
        on rules.is_machine
            and (
                (rules.kind = 'user_agent_exact' and newest.user_agent = rules.pattern)
                or (rules.kind = 'user_agent_contains' and instr(newest.user_agent, rules.pattern) > 0)
            )
    where newest.age = 1
    union all
    select
        listed.user_agent_key,
        rules.rule,
        rules.confidence,
        rules.priority
    from listed
    -- Fans out where there are several such rules, of which the verdict takes one.
    inner join rules
        on rules.kind = 'user_agent_list'
    left join proxied
        on listed.user_agent_key = proxied.user_agent_key
    where proxied.user_agent_key is null
),

verdicts as (
    select
        user_agent_key,
        min_by(rule, priority) as machine_rule,
        min_by(confidence, priority) filter (where confidence is not null) as machine_confidence,
        min(priority) as machine_priority
    from matched
    group by user_agent_key
)

select
    newest.user_agent_key,
    newest.user_agent,
    -- Behind a proxy nothing is known of the device that the person holds.
    case
        when proxied.mail_proxy is not null then 'unknown'
        else coalesce(newest.device_class, 'unknown')
    end as device_class,
    case when proxied.mail_proxy is null then newest.os_name end as os_name,
    case when proxied.mail_proxy is null then newest.os_version end as os_version,
    case when proxied.mail_proxy is null then newest.browser_name end as browser_name,
    case when proxied.mail_proxy is null then newest.browser_version end as browser_version,
    case when proxied.mail_proxy is null then newest.mail_client_name end as mail_client_name,
    case when proxied.mail_proxy is null then newest.mail_client_version end as mail_client_version,
    newest.crawler_name,
    newest.parser_version,
    proxied.mail_proxy,
    verdicts.machine_rule,
    verdicts.machine_confidence,
    verdicts.machine_priority
from newest
left join proxied
    on newest.user_agent_key = proxied.user_agent_key
left join verdicts
    on newest.user_agent_key = verdicts.user_agent_key
where newest.age = 1
