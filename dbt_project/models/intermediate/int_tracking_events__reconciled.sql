{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
        meta={'setting': var('esp_match_seconds'), 'logged_key': 'event_key'},
    )
}}

{#- Microseconds within which two records are of one act. -#}
{%- set window_us = var('esp_match_seconds') * 1000000 %}

-- The provider and our own logs tell of the same acts, each in its own clock. Both are walked side by side in
-- time order, and two that lie within the window are one act.
with recursive

events as {{ inlined() }}(
    select
        event_key,
        delivery_id,
        message_id,
        url_id,
        url_type,
        occurred_at,
        source = 'esp_event' as is_esp
    from {{ ref('int_tracking_events__judged') }}
    where {{ in_scope() }}
        and coalesce(url_type not in (4, 5), true)
),

verdicts as (
    select
        event_key,
        event_kind,
        coalesce(is_provider_machine, false) as is_provider_machine
    from {{ ref('int_esp_events__resolved') }}
    where {{ in_scope() }}
        and {{ is_esp_tracking() }}
),

tracked_urls as (
    select
        delivery_id,
        url_id,
        {{ link_base('source_url') }} as page
    from {{ ref('int_tracked_urls__current') }}
    where {{ in_scope() }} or delivery_id = 0
),

esp_events as (
    select
        events.*,
        verdicts.event_kind,
        verdicts.is_provider_machine
    from events
    inner join verdicts
        on events.event_key = verdicts.event_key
    where events.is_esp
),

own_events as (
    select * from events
    where not is_esp
        and message_id <> 0
        and message_id in (select message_id from esp_events)
),

sides as (
    select
        event_key,
        delivery_id,
        message_id,
        url_id,
        url_type,
        occurred_at,
        is_esp,
        event_kind = 'unsubscribe' as is_unsubscription
    from esp_events
    where message_id <> 0
    union all
    select
        event_key,
        delivery_id,
        message_id,
        url_id,
        url_type,
        occurred_at,
        is_esp,
        false as is_unsubscription
    from own_events
),

-- Links at several places of the content, or with personal queries, are one where they lead to one page.
acts as (
    select
        sides.*,
        case
            when sides.url_id = 1 then 'open'
            when sides.is_unsubscription then 'unsubscription'
            else 'link ' || coalesce(own_urls.page, shared_urls.page, cast(sides.url_id as string))
        end as act
    from sides
    left join tracked_urls as own_urls
        on sides.delivery_id = own_urls.delivery_id
            and sides.url_id = own_urls.url_id
    left join tracked_urls as shared_urls
        on sides.url_id = shared_urls.url_id
            and shared_urls.delivery_id = 0
),

-- An unsubscription may also tell of a click on an opt-out link, whoever recorded that.
told as (
    select
        event_key,
        delivery_id,
        message_id,
        act,
        occurred_at,
        is_esp as is_second
    from acts
    union all
    select
        event_key,
        delivery_id,
        message_id,
        'unsubscription' as act,
        occurred_at,
        false as is_second
    from acts
    where url_type = 3
        and not is_unsubscription
),

numbered as (
    select
        event_key,
        delivery_id,
        message_id,
        act,
        is_second,
        {{ epoch_microseconds('occurred_at') }} as occurred_at_us,
        row_number() over (
            partition by delivery_id, message_id, act, is_second
            order by occurred_at asc nulls last, event_key asc nulls last
        ) as place
    from told
),

{{ pairs_in_time_order(window_us) }},

-- An own click can be told twice by the provider: as the click, and as the unsubscription it led to.
counterparts as (
    select
        pairs.first_key as event_key,
        min(pairs.second_key) as matched_event_key,
        bool_or(esp_events.is_provider_machine) as is_provider_machine
    from pairs
    inner join esp_events
        on pairs.second_key = esp_events.event_key
    group by pairs.first_key
)

select
    esp_events.event_key,
    esp_events.delivery_id,
    esp_events.message_id,
    true as is_esp,
    pairs.first_key as matched_event_key,
    pairs.first_key is null as is_counted,
    esp_events.is_provider_machine or coalesce(counterparts.is_provider_machine, false) as is_provider_machine
from esp_events
left join pairs
    on esp_events.event_key = pairs.second_key
left join counterparts
    on esp_events.event_key = counterparts.event_key
union all
select
    own_events.event_key,
    own_events.delivery_id,
    own_events.message_id,
    false as is_esp,
    counterparts.matched_event_key,
    true as is_counted,
    counterparts.is_provider_machine
from own_events
inner join counterparts
    on own_events.event_key = counterparts.event_key
