{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
        unique_key='event_key',
        meta={'touches': 'delivery_id'},
    )
}}

{#- What a line says and never changes. Everything else is derived from it and can be derived again. -#}
{%- set base_columns -%}
event_key, source, server, pointer, occurred_at, time_flag, message_id, logged_delivery_id, url_id,
    known_url_type, forced_delivery_id, visitor_id, content_kind, params, tag, is_opted_out, request_method,
    user_agent_key, ip_address, ingested_at, source_file, source_line, batch_id
{%- endset -%}

with

arrived as (
    select {{ base_columns }}
    from {{ ref('int_tracking_events__accepted') }}
    where {{ has_arrived() }}
        {% if is_incremental() -%}
        -- The message and link of a provider's event are looked up: what comes out anew comes again.
        or changed_in_run > {{ mark_run() }}
        {%- endif %}
),

messages as (
    select
        message_id,
        delivery_id,
        recipient_id,
        changed_in_run
    from {{ ref('int_messages__current') }}
    where message_id <> 0
),

tracked_urls as (
    select
        delivery_id,
        url_id,
        url_type,
        changed_in_run
    from {{ ref('int_tracked_urls__current') }}
    where url_id <> 1
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

rules as (
    select * from {{ ref('machine_rules') }}
),

ruleset as (
    select max(ruleset_version) as ruleset_version from rules
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
    where pointer is not null
        and (server, pointer) in (select (server, pointer) from arrived)
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
        and stored.url_type is distinct from tracked_urls.url_type
    union all
    select
        stored.event_key,
        stored.message_id
    from {{ this }} as stored
    inner join tracked_urls
        on stored.resolved_url_id = tracked_urls.url_id
            and tracked_urls.delivery_id = 0
    where tracked_urls.changed_in_run > {{ mark_run() }}
        and stored.url_type is distinct from tracked_urls.url_type
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
    -- Their user agent was parsed later, or anew.
    select
        event_key,
        message_id
    from {{ this }}
    where user_agent_key in (select user_agent_key from parsed_user_agents)
),

-- Verdicts look at all clicks of a message together, so a message is judged again as a whole. That also
-- spares any thought about the time between its clicks, or about midnight.
touched_messages as (
    select message_id from arrived
    where message_id <> 0 and url_id <> 1
    union
    select message_id from touched
    where message_id <> 0
),

base as (
    select {{ base_columns }} from arrived
    union all
    select {{ base_columns }} from {{ this }}
    where (
        message_id in (select message_id from touched_messages)
        or event_key in (select event_key from touched)
    )
    and not (
        source = 'esp_event'
        and event_key in (
            select event_key from arrived
            where source = 'esp_event'
        )
    )
),

contested as (
    select
        server,
        pointer
    from (
        select
            server,
            pointer
        from arrived
        union all
        select
            server,
            pointer
        from {{ this }}
        where (server, pointer) in (select (server, pointer) from base)
    )
    where pointer is not null
    group by server, pointer
    having count(*) > 1
),
{%- else %}
base as (
    select {{ base_columns }} from arrived
),

contested as (
    select
        server,
        pointer
    from base
    where pointer is not null
    group by server, pointer
    having count(*) > 1
),
{%- endif %}

placed as (
    select
        base.*,
        coalesce(messages.recipient_id, 0) as recipient_id,
        case
            when base.logged_delivery_id <> 0 then base.logged_delivery_id
            else coalesce(messages.delivery_id, 0)
        end as delivery_id,
        contested.server is not null as is_pointer_conflict
    from base
    left join messages
        on base.message_id = messages.message_id
    left join contested
        on base.server = contested.server
            and base.pointer = contested.pointer
),

-- What kind of link it is: by the links of the delivery, those of all deliveries, the web tags; last, a tag
-- may say itself what it is.
typed as (
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
        end as url_type
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

-- Only messages with several clicks can hold a burst. Pages fire their tags together: web hits are none.
clicks as (
    select
        event_key,
        -- The provider tells of the same clicks as our own logs: neither adds to the other's bursts.
        case when source = 'esp_event' then -message_id else message_id end as message_id,
        url_id,
        {{ epoch_microseconds('occurred_at') }} as occurred_at_us,
        date_trunc('second', occurred_at) as occurred_in_second
    from typed
    where url_id <> 1
        and known_url_type is null
        and not {{ is_web_hit() }}
        and message_id in (
            select candidates.message_id
            from base as candidates
            where candidates.url_id <> 1 and candidates.message_id <> 0
            group by candidates.message_id
            having count(*) > 1
        )
),

numbered_clicks as (
    select
        *,
        row_number() over (partition by message_id order by occurred_at_us, event_key) as click_number
    from clicks
),

-- A click that begins a run of min_count clicks within the window.
burst_starts as (
    select
        first_click.message_id,
        first_click.click_number,
        max(first_click.click_number + rules.min_count - 1) as last_click_number
    from numbered_clicks as first_click
    inner join rules
        on rules.kind = 'burst_events'
    inner join numbered_clicks as last_click
        on first_click.message_id = last_click.message_id
            and first_click.click_number + rules.min_count - 1 = last_click.click_number
    where last_click.occurred_at_us - first_click.occurred_at_us <= rules.window_seconds * 1000000
    group by first_click.message_id, first_click.click_number
),

-- Runs of one message have the same length, so the last one begun is the one that reaches furthest.
reached as (
    select
        numbered_clicks.event_key,
        numbered_clicks.click_number,
        max(burst_starts.last_click_number) over (
            partition by numbered_clicks.message_id
            order by numbered_clicks.click_number
            rows between unbounded preceding and current row
        ) as burst_ends_at
    from numbered_clicks
    left join burst_starts
        on numbered_clicks.message_id = burst_starts.message_id
            and numbered_clicks.click_number = burst_starts.click_number
),

crowded_seconds as (
    select
        clicks.message_id,
        clicks.occurred_in_second
    from clicks
    inner join rules
        on rules.kind = 'burst_links'
    group by clicks.message_id, clicks.occurred_in_second
    having count(distinct clicks.url_id) >= min(rules.min_count)
),

bursts as (
    select event_key from reached
    where click_number <= burst_ends_at
    union
    select clicks.event_key
    from clicks
    inner join crowded_seconds
        on clicks.message_id = crowded_seconds.message_id
            and clicks.occurred_in_second = crowded_seconds.occurred_in_second
),

-- A request that asks for no content: no person sees what it gets.
method_rules as (
    select
        pattern,
        min_by(rule, priority) as rule,
        min_by(confidence, priority) as confidence,
        min(priority) as priority
    from rules
    where kind = 'request_method'
    group by pattern
),

burst_rule as (
    select
        min_by(rule, priority) as rule,
        min_by(confidence, priority) as confidence,
        min(priority) as priority
    from rules
    where kind in ('burst_events', 'burst_links')
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
        burst_rule.rule as burst_rule,
        burst_rule.confidence as burst_confidence,
        case when bursts.event_key is not null then burst_rule.priority end as burst_priority,
        method_rules.rule as method_rule,
        method_rules.confidence as method_confidence,
        method_rules.priority as method_priority
    from typed
    cross join burst_rule
    left join method_rules
        on typed.request_method = method_rules.pattern
    left join user_agents
        on typed.user_agent_key = user_agents.user_agent_key
    left join bursts
        on typed.event_key = bursts.event_key
),

-- Of the rules that hold the one with the least priority is the verdict; least() leaves out what is NULL.
judged as (
    select
        *,
        least(machine_priority, method_priority, burst_priority) as verdict_priority
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
    judged.verdict_priority is not null as is_machine,
    case judged.verdict_priority
        when judged.machine_priority then judged.machine_rule
        when judged.method_priority then judged.method_rule
        when judged.burst_priority then judged.burst_rule
    end as machine_rule,
    case judged.verdict_priority
        when judged.machine_priority then judged.machine_confidence
        when judged.method_priority then judged.method_confidence
        when judged.burst_priority then judged.burst_confidence
    end as machine_confidence,
    cast(ruleset.ruleset_version as bigint) as ruleset_version,
    judged.ingested_at,
    judged.source_file,
    judged.source_line,
    judged.batch_id,
    cast({{ current_run() }} as bigint) as changed_in_run
from judged
cross join ruleset
