{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
        unique_key='event_key',
        meta={'touches': 'delivery_id', 'makes_again': true, 'setting': var('esp_lookback_days'), 'part': event_day()},
    )
}}

{#- What an event says and never changes. -#}
{%- set base_columns -%}
event_key, provider, event_kind, event_type, provider_message_id, occurred_at, time_flag, said_message_id,
    said_delivery_id, said_recipient_id, address, url, user_agent_key, ip_address, is_provider_machine, bounce_kind, bounce_text,
    ingested_at, source_file, source_line, batch_id
{%- endset %}

with

arrived as (
    select
        event_key,
        provider,
        event_kind,
        event_type,
        provider_message_id,
        occurred_at,
        time_flag,
        message_id as said_message_id,
        delivery_id as said_delivery_id,
        recipient_id as said_recipient_id,
        address,
        url,
        user_agent_key,
        ip_address,
        is_provider_machine,
        bounce_kind,
        bounce_text,
        ingested_at,
        source_file,
        source_line,
        batch_id
    from {{ ref('stg_esp_events__events') }}
    where ({{ has_arrived() }})
        or {{ is_line_of_asked_for('delivery_id') }}
),

deliveries as (
    select
        delivery_id,
        sent_at,
        changed_in_run
    from {{ ref('int_deliveries__current') }}
),

-- Each reader takes little of it, and computes no address where it asks for none.
messages as {{ inlined() }}(
    select
        message_id,
        delivery_id,
        recipient_id,
        {{ address_key('address') }} as address,
        event_at,
        status,
        changed_in_run
    from {{ ref('int_messages__current') }}
    where message_id <> 0
),

tracked_urls as (
    select
        delivery_id,
        url_id,
        source_url,
        {{ link_base('source_url') }} as page,
        {{ has_personal_path('source_url') }} as has_personal_path,
        -- A provider rewrites the links of a mail, and no web pages.
        coalesce(url_type not in (4, 5), true) as is_in_mail,
        changed_in_run
    from {{ ref('int_tracked_urls__current') }}
    where url_id not in (0, 1)
),
{% if is_incremental() %}
changed_messages as (
    select * from messages
    where changed_in_run > {{ mark_run() }}
),

changed_urls as (
    select distinct delivery_id from tracked_urls
    where changed_in_run > {{ mark_run() }}
),

-- Stored events that may be about another message or link than before.
touched as (
    select event_key from {{ this }}
    where message_id in (select message_id from changed_messages)
        or said_message_id in (select message_id from changed_messages)
    union
    select event_key from {{ this }}
    where said_message_id = 0
        and address in (select address from changed_messages)
    union
    select event_key from {{ this }}
    where said_message_id = 0
        and said_recipient_id <> 0
        and said_recipient_id in (select recipient_id from changed_messages)
    union
    -- A message without a time of its own was sent when its delivery was.
    select event_key from {{ this }}
    where said_message_id = 0
        and address in (
            select messages.address
            from messages
            inner join deliveries
                on messages.delivery_id = deliveries.delivery_id
            where messages.event_at is null
                and messages.address is not null
                and deliveries.changed_in_run > {{ mark_run() }}
        )
    union
    select event_key from {{ this }}
    where said_message_id = 0
        and said_delivery_id in (
            select delivery_id from deliveries
            where changed_in_run > {{ mark_run() }}
        )
    union
    select event_key from {{ this }}
    where url is not null
        and (
            delivery_id in (select delivery_id from changed_urls)
            or 0 in (select delivery_id from changed_urls)
        )
),

base as (
    select {{ base_columns }} from arrived
    union all
    select {{ base_columns }} from {{ this }}
    where event_key in (select event_key from touched)
        and event_key not in (select event_key from arrived)
        -- What no landed row gives again goes.
        and not {{ is_asked_for('delivery_id') }}
),
{%- else %}
base as (
    select {{ base_columns }} from arrived
),
{%- endif %}

-- What was never sent got no event.
sent_messages as {{ inlined() }}(
    select
        messages.message_id,
        messages.delivery_id,
        messages.recipient_id,
        messages.address,
        coalesce(messages.event_at, deliveries.sent_at) as sent_at
    from messages
    left join deliveries
        on messages.delivery_id = deliveries.delivery_id
    where messages.status not in (0, 7)
),

candidates as (
    -- Of the delivery that it names, by recipient or address; of no other, whatever its address got besides.
    select
        base.event_key,
        sent_messages.message_id,
        sent_messages.sent_at
    from base
    -- Fans out: candidates, of which the latest is taken.
    inner join sent_messages
        on base.said_delivery_id = sent_messages.delivery_id
            and base.said_recipient_id = sent_messages.recipient_id
    where base.said_message_id = 0
        and base.said_delivery_id <> 0
        and base.said_recipient_id <> 0
    union all
    select
        base.event_key,
        sent_messages.message_id,
        sent_messages.sent_at
    from base
    -- Fans out: candidates, of which the latest is taken.
    inner join sent_messages
        on base.said_delivery_id = sent_messages.delivery_id
            and base.address = sent_messages.address
    where base.said_message_id = 0
        and base.said_delivery_id <> 0
        and base.said_recipient_id = 0
    union all
    -- It names no delivery: what was last sent to its address.
    select
        base.event_key,
        sent_messages.message_id,
        sent_messages.sent_at
    from base
    -- Fans out: candidates, of which the latest is taken.
    inner join sent_messages
        on base.address = sent_messages.address
            and base.occurred_at >= sent_messages.sent_at
            and base.occurred_at <= sent_messages.sent_at + interval {{ var('esp_lookback_days') }} day
    where base.said_message_id = 0
        and base.said_delivery_id = 0
),

numbered_candidates as (
    select
        event_key,
        message_id,
        row_number() over (partition by event_key order by sent_at desc nulls last, message_id desc) as age
    from candidates
),

addressed as (
    select
        base.*,
        case
            when base.said_message_id <> 0 then base.said_message_id
            else coalesce(numbered_candidates.message_id, 0)
        end as message_id,
        case
            when base.said_message_id <> 0 then 'said'
            when numbered_candidates.message_id is null then 'unknown'
            when base.said_delivery_id <> 0 then 'delivery'
            else 'newest'
        end as resolution
    from base
    left join numbered_candidates
        on base.event_key = numbered_candidates.event_key
            and numbered_candidates.age = 1
),

-- Where the message is known, its own row says which delivery and recipient it has.
delivered as (
    select
        addressed.*,
        coalesce(messages.delivery_id, addressed.said_delivery_id) as delivery_id,
        coalesce(messages.recipient_id, addressed.said_recipient_id) as recipient_id
    from addressed
    left join messages
        on addressed.message_id = messages.message_id
),

clicked as (
    select distinct
        delivery_id,
        url,
        {{ link_base('url') }} as page
    from delivered
    where event_kind = 'click'
        and url is not null
),

-- The same address, before the same page, before a page whose address begins as the link's does; a link of
-- the delivery before one of all deliveries; the smallest id.
matches as (
    select
        clicked.delivery_id,
        clicked.url,
        tracked_urls.url_id,
        case when clicked.url = tracked_urls.source_url then 1 else 2 end as doubt,
        tracked_urls.delivery_id = 0 as is_shared
    from clicked
    -- Fans out: candidates, of which the least doubtful is taken.
    inner join tracked_urls
        on clicked.page = tracked_urls.page
            and clicked.delivery_id = tracked_urls.delivery_id
            and tracked_urls.is_in_mail
    union all
    select
        clicked.delivery_id,
        clicked.url,
        tracked_urls.url_id,
        case when clicked.url = tracked_urls.source_url then 1 else 2 end as doubt,
        true as is_shared
    from clicked
    -- Fans out: candidates, of which the least doubtful is taken.
    inner join tracked_urls
        on clicked.page = tracked_urls.page
            and tracked_urls.delivery_id = 0
            and tracked_urls.is_in_mail
    where clicked.delivery_id <> 0
    union all
    select
        clicked.delivery_id,
        clicked.url,
        tracked_urls.url_id,
        1000000 - length(tracked_urls.page) as doubt,
        tracked_urls.delivery_id = 0 as is_shared
    from clicked
    -- Fans out: candidates, of which the least doubtful is taken.
    inner join tracked_urls
        on tracked_urls.has_personal_path
            and tracked_urls.is_in_mail
            and tracked_urls.delivery_id in (clicked.delivery_id, 0)
            and substr(clicked.page, 1, length(tracked_urls.page)) = tracked_urls.page
),

numbered_matches as (
    select
        *,
        row_number() over (
            partition by delivery_id, url
            order by doubt asc nulls last, is_shared asc nulls last, url_id asc nulls last
        ) as place
    from matches
),

resolved as (
    select
        delivered.*,
        case
            when delivered.event_kind = 'open' then 1
            when delivered.event_kind = 'unsubscribe' then {{ provider_unsubscription_url_id() }}
            else coalesce(numbered_matches.url_id, 0)
        end as url_id
    from delivered
    left join numbered_matches
        on delivered.event_kind = 'click'
            and delivered.delivery_id = numbered_matches.delivery_id
            and delivered.url = numbered_matches.url
            and numbered_matches.place = 1
)

select
    resolved.*,
    cast({{ current_run() }} as bigint) as changed_in_run
from resolved
{% if is_incremental() -%}
left join {{ this }} as stored
    on resolved.event_key = stored.event_key
-- What comes out as before is no news to the models above.
where stored.event_key is null
    or resolved.message_id <> stored.message_id
    or resolved.delivery_id <> stored.delivery_id
    or resolved.recipient_id <> stored.recipient_id
    or resolved.url_id <> stored.url_id
    or resolved.resolution <> stored.resolution
    or {{ is_asked_for('stored.delivery_id') }}
{%- endif %}
