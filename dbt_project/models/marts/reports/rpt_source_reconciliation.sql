{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
    )
}}

with

reconciled as (
    select
        event_key,
        matched_event_key
    from {{ ref('int_tracking_events__reconciled') }}
    where {{ in_scope() }}
),

events as (
    select
        delivery_id,
        event_key,
        case
            when url_id = 1 then 'open'
            when url_type = 3 then 'opt_out'
            else 'click'
        end as kind,
        source = 'esp_event' as is_esp
    from {{ ref('fct_tracking_events') }}
    where {{ in_scope() }}
        -- Web pages are visited, not reported by a provider, of whatever type.
        and coalesce(url_type not in (4, 5), true)
        and attribution is null
),

counts as (
    select
        events.delivery_id,
        events.kind,
        cast(count(*) filter (where not events.is_esp and reconciled.matched_event_key is null) as bigint)
            as only_own_count,
        cast(count(*) filter (where events.is_esp) as bigint) as only_esp_count,
        cast(count(*) filter (where not events.is_esp and reconciled.matched_event_key is not null) as bigint)
            as both_count
    from events
    left join reconciled
        on events.event_key = reconciled.event_key
    group by events.delivery_id, events.kind
)

select
    delivery_id,
    kind,
    only_own_count,
    only_esp_count,
    both_count,
    only_own_count + both_count as own_count,
    only_esp_count + both_count as esp_count,
    only_own_count + only_esp_count + both_count as act_count,
    {{ ratio('both_count', 'only_own_count + only_esp_count + both_count') }} as match_rate
from counts
