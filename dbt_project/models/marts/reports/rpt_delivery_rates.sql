-- A table: one delivery counts in the averages of many others, so a scope per delivery would not be exact.
with

deliveries as (
    select
        delivery_id,
        channel,
        typology,
        is_proof
    from {{ ref('dim_deliveries') }}
),

indicators as (
    select
        delivery_id,
        sent_at,
        success_count,
        estimated_recipient_open_count,
        human_estimated_recipient_open_count,
        recipient_click_count,
        human_recipient_click_count,
        person_click_count,
        human_person_click_count,
        total_click_count,
        human_total_click_count,
        estimated_reactivity,
        human_estimated_reactivity
    from {{ ref('rpt_tracking_indicators') }}
),

measured as (
    select
        deliveries.channel,
        deliveries.typology,
        deliveries.is_proof,
        indicators.*
    from indicators
    inner join deliveries
        on indicators.delivery_id = deliveries.delivery_id
),

-- Sent within the six months up to this one, itself not among them. Deliveries without a typology or channel
-- are compared with each other.
platform as (
    select
        measured.delivery_id,
        cast(count(*) as bigint) as platform_delivery_count,
        sum(earlier.success_count) as success_count,
        sum(earlier.estimated_recipient_open_count) as estimated_recipient_open_count,
        sum(earlier.human_estimated_recipient_open_count) as human_estimated_recipient_open_count,
        sum(earlier.recipient_click_count) as recipient_click_count,
        -- Of those whose estimate is known: what was frozen by a purge may be older than that column.
        sum(earlier.human_recipient_click_count) filter (
            where earlier.human_estimated_recipient_open_count is not null
        ) as human_recipient_click_count,
        sum(earlier.person_click_count) as person_click_count,
        sum(earlier.human_person_click_count) as human_person_click_count,
        sum(earlier.total_click_count) as total_click_count,
        sum(earlier.human_total_click_count) as human_total_click_count
    from measured
    inner join measured as earlier
        on measured.channel is not distinct from earlier.channel
            and measured.typology is not distinct from earlier.typology
            and measured.sent_at > earlier.sent_at
            and measured.sent_at - interval 6 month <= earlier.sent_at
    where not earlier.is_proof
    group by measured.delivery_id
)

select
    measured.delivery_id,
    measured.estimated_reactivity as reactivity,
    measured.human_estimated_reactivity as human_reactivity,
    {{ ratio('platform.recipient_click_count', 'platform.estimated_recipient_open_count') }}
        as platform_average_reactivity,
    {{ ratio('platform.human_recipient_click_count', 'platform.human_estimated_recipient_open_count') }}
        as human_platform_average_reactivity,
    {{ ratio('measured.person_click_count', 'measured.success_count') }} as distinct_click_rate,
    {{ ratio('measured.human_person_click_count', 'measured.success_count') }} as human_distinct_click_rate,
    {{ ratio('platform.person_click_count', 'platform.success_count') }}
        as platform_average_distinct_click_rate,
    {{ ratio('platform.human_person_click_count', 'platform.success_count') }}
        as human_platform_average_distinct_click_rate,
    {{ ratio('measured.total_click_count', 'measured.success_count') }} as cumulated_click_rate,
    {{ ratio('measured.human_total_click_count', 'measured.success_count') }} as human_cumulated_click_rate,
    {{ ratio('platform.total_click_count', 'platform.success_count') }}
        as platform_average_cumulated_click_rate,
    {{ ratio('platform.human_total_click_count', 'platform.success_count') }}
        as human_platform_average_cumulated_click_rate,
    coalesce(platform.platform_delivery_count, 0) as platform_delivery_count
from measured
left join platform
    on measured.delivery_id = platform.delivery_id
