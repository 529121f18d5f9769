{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
        unique_key='event_key',
        meta={
            'touches': 'delivery_id', 'logged_key': 'event_key', 'makes_again': true, 'part': event_day(),
            'read_often': ['arrived', 'base', 'typed', 'clicks', 'patterns'],
            'computed_once': ['contested'],
        },
    )
}}

{#- What a line says and never changes. Everything else is derived from it and can be derived again. -#}
{%- set base_columns -%}
event_key, source, server, pointer, occurred_at, time_flag, message_id, logged_delivery_id, url_id,
    known_url_type, forced_delivery_id, visitor_id, content_kind, params, tag, is_opted_out, request_method,
    user_agent_key, ip_address, ingested_at, source_file, source_line, batch_id
{%- endset -%}

with

arrived as {{ inlined() if not is_incremental() }}(
    select {{ base_columns }}
    from {{ ref('int_tracking_events__accepted') }}
    where ({{ has_arrived() }})
        {% if is_incremental() -%}
        -- The message and link of a provider's event are looked up: what comes out anew comes again.
        or changed_in_run > {{ mark_run() }}
        {%- endif %}
        or {{ is_line_of_asked_for('logged_delivery_id') }}
),

messages as (
    select
        message_id,
        delivery_id,
        recipient_id,
        event_at,
        changed_in_run
    from {{ ref('int_messages__current') }}
    where message_id <> 0
        and {{ in_part('message_id', ref('int_tracking_events__accepted')) }}
),

rules as (
    select * from {{ ref('machine_rules') }}
),

ruleset as (
    select max(ruleset_version) as ruleset_version from rules
),

-- A honeypot is a link that no person sees: its category says so.
tracked_urls as (
    select
        links.delivery_id,
        links.url_id,
        links.url_type,
        links.changed_in_run,
        coalesce(links.tracking_mode not in ('never', 'not_tracked'), true) as is_tracked,
        honeypots.rule is not null as is_honeypot
    from {{ ref('int_tracked_urls__current') }} as links
    left join rules as honeypots
        on honeypots.kind = 'link_category'
            and {{ lowered(trimmed('links.category')) }} = honeypots.pattern
    where links.url_id <> 1
),

-- What a person can click in the content of a delivery, and logs can tell of; links that serve every delivery
-- tell nothing of it.
content_links as (
    select
        delivery_id,
        url_id
    from tracked_urls
    where delivery_id <> 0
        and url_type = 1
        and is_tracked
        and not is_honeypot
),

delivery_links as (
    select
        delivery_id,
        count(*) as link_count
    from content_links
    group by delivery_id
),

-- A row of another type describes no web page.
web_tags as (
    select
        tag_id,
        url_id,
        url_type,
        changed_in_run
    from {{ ref('int_web_tags__current') }}
    where url_type in (4, 5)
),

web_tag_urls as (
    select
        url_id,
        min(tag_id) as tag_id,
        min_by(url_type, tag_id) as url_type
    from web_tags
    where url_id not in (0, 1)
    group by url_id
),

user_agents as (
    select * from {{ ref('int_user_agents__judged') }}
),

parsed_user_agents as (
    select user_agent_key from {{ ref('stg_enrichment__user_agents') }}
    where {{ has_arrived() }}
),

-- Whoever withdrew the consent to have their opens tracked; perhaps they gave it again later.
consents as (
    select
        recipient_id,
        granted_at,
        withdrawn_at,
        changed_in_run
    from {{ ref('int_consents__current') }}
    where purpose = 'open_tracking'
        and recipient_id <> 0
),

-- How soon after a message was sent no person can have acted; how many links make following them all a scan.
limits as (
    select
        coalesce(max(window_seconds) filter (where kind = 'just_sent'), -1) * 1000000 as haste_us,
        min(min_count) filter (where kind = 'every_link') as thorough_count
    from rules
),
{% if is_incremental() %}
-- Of any type: one that describes no web page any more is news too.
changed_web_tags as (
    select
        tag_id,
        url_id
    from {{ ref('int_web_tags__current') }}
    where changed_in_run > {{ mark_run() }}
),

-- Stored events whose derived columns may no longer hold, by cause. Each branch names the stored table anew:
-- one CTE over it would be held in memory as a whole.
touched as (
    -- The same server wrote the same pointer again, with another payload.
    select
        event_key,
        message_id
    from {{ this }}
    where pointer in (select pointer from arrived)
        and {{ row_in(['server', 'pointer'], 'from arrived') }}
    union all
    -- It is about another message now: the former one is judged without it.
    select
        event_key,
        message_id
    from {{ this }}
    where source = 'esp_event'
        and event_key in (select event_key from arrived)
    union all
    -- Their message arrived later, or was moved. A mere change of its status touches nothing here.
    select
        stored.event_key,
        stored.message_id
    from {{ this }} as stored
    inner join messages
        on stored.message_id = messages.message_id
    where messages.changed_in_run > {{ mark_run() }}
        and (
            stored.recipient_id is distinct from messages.recipient_id
            or (stored.logged_delivery_id = 0 and stored.delivery_id is distinct from messages.delivery_id)
            or stored.is_just_sent <> {{ is_within_window(
                'messages.event_at', 'stored.occurred_at', '(select haste_us from limits)'
            ) }}
        )
    union all
    -- Their link got a type, of its own or shared.
    select
        stored.event_key,
        stored.message_id
    from {{ this }} as stored
    inner join tracked_urls
        on stored.resolved_url_id = tracked_urls.url_id
            and stored.delivery_id = tracked_urls.delivery_id
    where tracked_urls.changed_in_run > {{ mark_run() }}
        and (
            stored.url_type is distinct from tracked_urls.url_type
            or stored.is_honeypot <> tracked_urls.is_honeypot
        )
    union all
    select
        stored.event_key,
        stored.message_id
    from {{ this }} as stored
    inner join tracked_urls
        on stored.resolved_url_id = tracked_urls.url_id
            and tracked_urls.delivery_id = 0
    where tracked_urls.changed_in_run > {{ mark_run() }}
        and (
            stored.url_type is distinct from tracked_urls.url_type
            or stored.is_honeypot <> tracked_urls.is_honeypot
        )
    union all
    -- Their delivery has other links now: whoever clicked several may have clicked them all.
    select
        min(event_key) as event_key,
        message_id
    from {{ this }}
    where url_type = 1
        and message_id <> 0
        and delivery_id in (
            select delivery_id from tracked_urls
            where changed_in_run > {{ mark_run() }}
        )
    group by message_id
    having count(distinct resolved_url_id) >= (select thorough_count from limits)
    union all
    -- The web tag that they name, are on, or got their type from arrived later or was changed.
    select
        event_key,
        message_id
    from {{ this }}
    where url_id <> 1
        and (
            tag_id in (select tag_id from changed_web_tags)
            or tag_name in (select tag_id from changed_web_tags)
            or nullif(url_id, 0) in (select url_id from changed_web_tags)
        )
    union all
    -- Their recipient's consent was given or withdrawn.
    select
        event_key,
        message_id
    from {{ this }}
    where url_id = 1
        and recipient_id in (
            select recipient_id from consents
            where changed_in_run > {{ mark_run() }}
        )
    union all
    -- Their user agent was parsed later, or anew.
    select
        event_key,
        message_id
    from {{ this }}
    where user_agent_key in (select user_agent_key from parsed_user_agents)
),

-- Verdicts look at all clicks of a message together, so a message is judged again as a whole. That also
-- spares any thought about the time between its clicks, or about midnight. Opens matter right after sending.
touched_messages as (
    select message_id from arrived
    where message_id <> 0 and url_id <> 1
    union
    select message_id from touched
    where message_id <> 0
    union
    select arrived.message_id
    from arrived
    inner join messages
        on arrived.message_id = messages.message_id
    cross join limits
    where {{ is_within_window('messages.event_at', 'arrived.occurred_at', 'limits.haste_us') }}
    union
    select message_id
    from {{ this }}
    where is_just_sent
        and message_id <> 0
        and message_id in (select message_id from arrived)
),

base as (
    select {{ base_columns }} from arrived
    union all
    select {{ base_columns }} from {{ this }}
    where message_id in (select message_id from touched_messages)
        and event_key not in (select event_key from arrived)
        -- What no landed row gives again goes.
        and not {{ is_asked_for('delivery_id') }}
    -- All others that were touched are of these messages, which touched names. Apart: where only numbers are
    -- compared, few rows are read.
    union all
    select {{ base_columns }} from {{ this }}
    where message_id = 0
        and event_key in (
            select event_key from touched
            where message_id = 0
        )
        and event_key not in (select event_key from arrived)
        and not {{ is_asked_for('delivery_id') }}
),

contested as (
    select
        server,
        pointer
    from (
        select
            event_key,
            server,
            pointer
        from arrived
        union
        select
            event_key,
            server,
            pointer
        from {{ this }}
        where pointer in (select pointer from base)
            and {{ row_in(['server', 'pointer'], 'from base') }}
            -- What goes contests nothing.
            and not {{ is_asked_for('delivery_id') }}
    )
    where pointer is not null
    group by server, pointer
    having count(*) > 1
),
{%- else %}
-- Everything that is judged together is of one message.
base as {{ inlined() }}(
    select {{ base_columns }} from arrived
    where {{ in_part('message_id', ref('int_tracking_events__accepted')) }}
),

contested as (
    select
        server,
        pointer
    from arrived
    where pointer is not null
    group by server, pointer
    having count(*) > 1
),
{%- endif %}

-- Written out where stored rows are judged again. Inlined there, it makes DuckDB 2.0 fail: "dict-surviving
-- cache: global dictionary column … changed identity after being seeded".
placed as {{ inlined() if not is_incremental() }}(
    select
        base.*,
        coalesce(messages.recipient_id, 0) as recipient_id,
        case
            when base.logged_delivery_id <> 0 then base.logged_delivery_id
            else coalesce(messages.delivery_id, 0)
        end as delivery_id,
        contested.server is not null as is_pointer_conflict,
        {{ is_within_window('messages.event_at', 'base.occurred_at', 'limits.haste_us') }}
            as is_just_sent,
        coalesce(
            base.url_id = 1
            and base.occurred_at >= consents.withdrawn_at
            and not coalesce(
                consents.granted_at >= consents.withdrawn_at
                and base.occurred_at >= consents.granted_at,
                false
            ),
            false
        ) as is_anonymous
    from base
    cross join limits
    left join messages
        on base.message_id = messages.message_id
    left join consents
        on messages.recipient_id = consents.recipient_id
    left join contested
        on base.server = contested.server
            and base.pointer = contested.pointer
),

-- What kind of link it is: by the links of the delivery, those of all deliveries, the web tags; last, a tag
-- may say itself what it is.
typed as {{ inlined() }}(
    select
        placed.*,
        {{ tag_name('placed.tag') }} as tag_name,
        coalesce(named_tags.tag_id, web_tag_urls.tag_id) as tag_id,
        coalesce(nullif(placed.url_id, 0), named_tags.url_id, 0) as resolved_url_id,
        case
            when placed.url_id = 1 then 2
            when placed.known_url_type is not null then placed.known_url_type
            when own_urls.url_type is not null then own_urls.url_type
            when shared_urls.url_type is not null then shared_urls.url_type
            when named_tags.url_type is not null then named_tags.url_type
            when web_tag_urls.url_type is not null then web_tag_urls.url_type
            else {{ tag_url_type('placed.tag') }}
        end as url_type,
        coalesce(own_urls.is_honeypot, shared_urls.is_honeypot, false) as is_honeypot
    from placed
    left join web_tags as named_tags
        on {{ tag_name('placed.tag') }} = named_tags.tag_id
    left join web_tag_urls
        on placed.url_id = web_tag_urls.url_id
    left join tracked_urls as own_urls
        on placed.delivery_id = own_urls.delivery_id
            and coalesce(nullif(placed.url_id, 0), named_tags.url_id) = own_urls.url_id
    left join tracked_urls as shared_urls
        on coalesce(nullif(placed.url_id, 0), named_tags.url_id) = shared_urls.url_id
            and shared_urls.delivery_id = 0
),

-- What a robot may have followed. Pages fire their tags together: web hits are none.
clicks as (
    select
        event_key,
        -- The provider tells of the same clicks as our own logs: neither adds to the other's patterns.
        case when source = 'esp_event' then -message_id else message_id end as message_id,
        delivery_id,
        url_id,
        resolved_url_id,
        url_type,
        is_honeypot,
        {{ epoch_microseconds('occurred_at') }} as occurred_at_us,
        {{ start_of('second', 'occurred_at') }} as occurred_in_second
    from typed
    where url_id <> 1
        and known_url_type is null
        and not {{ is_web_hit() }}
        and message_id <> 0
        -- One click is no pattern, but for one on a honeypot.
        and (
            is_honeypot
            or message_id in (
                select candidates.message_id
                from base as candidates
                where candidates.url_id <> 1 and candidates.message_id <> 0
                group by candidates.message_id
                having count(*) > 1
            )
        )
),

{{ click_patterns() }},

-- A request that asks for no content: no person sees what it gets.
method_rules as (
    select
        pattern,
        min_by(rule, priority) as rule,
        min_by(confidence, priority) filter (where confidence is not null) as confidence,
        min(priority) as priority
    from rules
    where kind = 'request_method'
    group by pattern
),

-- An address of the network confirms what the user agent suggests; alone it proves nothing.
network_rules as (
    select
        rule,
        pattern as network,
        confidence
    from rules
    where kind = 'address_network'
),

suspect_addresses as (
    select distinct
        base.ip_address,
        network_rules.rule,
        network_rules.network
    from base
    inner join user_agents
        on base.user_agent_key = user_agents.user_agent_key
    inner join network_rules
        on user_agents.machine_rule = network_rules.rule
),

{{ addresses_in_networks('suspect_addresses', ref('machine_networks')) }},

-- Messages that a machine has to do with, whatever else happened to them. Without the events' keys: those are
-- made of all fields of a line, and cost more than all else that is asked here.
convicted_messages as (
    select base.message_id
    from base
    left join user_agents
        on base.user_agent_key = user_agents.user_agent_key
    left join method_rules
        on base.request_method = method_rules.pattern
    where base.message_id <> 0
        and coalesce(user_agents.machine_priority, method_rules.priority) is not null
    union
    select abs(clicks.message_id) as message_id
    from clicks
    inner join patterns
        on clicks.event_key = patterns.event_key
),

haste as (
    select
        min_by(rule, priority) as rule,
        min_by(confidence, priority) filter (where confidence is not null) as confidence
    from rules
    where kind = 'just_sent'
),

weighed as (
    select
        typed.*,
        user_agents.device_class,
        user_agents.os_name,
        user_agents.os_version,
        user_agents.browser_name,
        user_agents.browser_version,
        user_agents.mail_proxy,
        user_agents.machine_rule,
        user_agents.machine_confidence,
        user_agents.machine_priority,
        patterns.rule as pattern_rule,
        patterns.confidence as pattern_confidence,
        patterns.priority as pattern_priority,
        network_rules.confidence as network_confidence,
        method_rules.rule as method_rule,
        method_rules.confidence as method_confidence,
        method_rules.priority as method_priority,
        -- Of the rules that hold the one with the least priority is the verdict; least() leaves out NULL.
        least(user_agents.machine_priority, method_rules.priority, patterns.priority) as verdict_priority,
        convicted_messages.message_id is not null as has_machines
    from typed
    left join method_rules
        on typed.request_method = method_rules.pattern
    left join user_agents
        on typed.user_agent_key = user_agents.user_agent_key
    left join patterns
        on typed.event_key = patterns.event_key
    left join addresses_in_networks as confirmed
        on typed.ip_address = confirmed.ip_address
            and user_agents.machine_rule = confirmed.rule
    left join network_rules
        on confirmed.rule = network_rules.rule
            and confirmed.network = network_rules.network
    left join convicted_messages
        on typed.message_id = convicted_messages.message_id
),

-- Right after sending, and something else speaks against a person: the message has machines, or the user
-- agent says nothing at all.
judged as (
    select
        *,
        is_just_sent
        and verdict_priority is null
        and not {{ is_web_hit() }}
        and (user_agent_key = md5('') or has_machines)
            as is_hasty
    from weighed
)

select
    judged.event_key,
    judged.source,
    judged.server,
    judged.pointer,
    judged.occurred_at,
    cast(judged.occurred_at as date) as occurred_on,
    judged.time_flag,
    coalesce(judged.time_flag not in ('far_past', 'far_future'), true) as is_in_time_range,
    judged.is_pointer_conflict,
    judged.message_id,
    judged.logged_delivery_id,
    judged.delivery_id,
    judged.recipient_id,
    judged.url_id,
    judged.resolved_url_id,
    judged.known_url_type,
    judged.url_type,
    {{ is_web_hit() }} as is_web_hit,
    judged.tag,
    judged.tag_name,
    judged.tag_id,
    judged.is_opted_out,
    judged.forced_delivery_id,
    judged.visitor_id,
    judged.content_kind,
    judged.params,
    judged.request_method,
    judged.user_agent_key,
    judged.ip_address,
    coalesce(judged.device_class, 'unknown') as device_class,
    judged.os_name,
    judged.os_version,
    judged.browser_name,
    judged.browser_version,
    judged.mail_proxy,
    judged.is_just_sent,
    judged.is_honeypot,
    judged.is_anonymous,
    judged.verdict_priority is not null or judged.is_hasty as is_machine,
    case judged.verdict_priority
        when judged.machine_priority then judged.machine_rule
        when judged.method_priority then judged.method_rule
        when judged.pattern_priority then judged.pattern_rule
        else case when judged.is_hasty then haste.rule end
    end as machine_rule,
    case judged.verdict_priority
        when judged.machine_priority then coalesce(judged.network_confidence, judged.machine_confidence)
        when judged.method_priority then judged.method_confidence
        when judged.pattern_priority then judged.pattern_confidence
        else case when judged.is_hasty then haste.confidence end
    end as machine_confidence,
    cast(ruleset.ruleset_version as bigint) as ruleset_version,
    judged.ingested_at,
    judged.source_file,
    judged.source_line,
    judged.batch_id,
    cast({{ current_run() }} as bigint) as changed_in_run
from judged
cross join ruleset
cross join haste
