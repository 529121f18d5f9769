-- A table: roll-ups are of many deliveries. A message is one delivery's, so that messages add up over
-- deliveries; persons do not, and are counted anew.
with

deliveries as (
    select
        delivery_id,
        nullif({{ trimmed('campaign_label') }}, '') as campaign_label
    from {{ ref('dim_deliveries') }}
),

salt as (
    select max(salt) as salt from {{ ref('stg_landed__salt') }}
),

indicators as (
    select
        deliveries.campaign_label,
        indicators.*
    from {{ ref('rpt_tracking_indicators') }} as indicators
    inner join deliveries
        on indicators.delivery_id = deliveries.delivery_id
),

activity as (
    select
        deliveries.campaign_label,
        periods.*
    from {{ ref('agg_message_activity') }} as periods
    inner join deliveries
        on periods.delivery_id = deliveries.delivery_id
),

visitor_days as (
    select
        clicks.delivery_id,
        deliveries.campaign_label,
        clicks.clicked_on as day_on,
        cast(date_trunc('week', clicks.clicked_on) as date) as week_on,
        cast(date_trunc('month', clicks.clicked_on) as date) as month_on,
        {{ person_key('clicks.person_key', 'salt.salt') }} as person_key,
        clicks.has_human_click
    from {{ ref('agg_person_clicks') }} as clicks
    inner join deliveries
        on clicks.delivery_id = deliveries.delivery_id
    cross join salt
),
{% for rollup in ['delivery', 'campaign', 'day', 'week', 'month', 'all'] %}
{{ rollup_counts(rollup) }},
{% endfor %}
rollups as (
    {% for rollup in ['delivery', 'campaign', 'day', 'week', 'month', 'all'] -%}
    select * from {{ rollup }}_counts
    {{ 'union all' if not loop.last }}
    {% endfor -%}
),

estimates as (
    select
        *,
        {{ estimated('recipient_open_count') }} as estimated_recipient_open_count,
        {{ estimated('human_recipient_open_count') }} as human_estimated_recipient_open_count,
        {{ estimated('total_open_count') }} as estimated_total_open_count,
        {{ estimated('human_total_open_count') }} as human_estimated_total_open_count
    from rollups
)

select
    rollup,
    rollup_key,
    delivery_id,
    campaign_label,
    period_on,
    delivery_count,
    to_deliver_count,
    text_to_deliver_count,
    success_count,
    error_count,
    complaint_count,
    recipient_open_count,
    human_recipient_open_count,
    total_open_count,
    human_total_open_count,
    estimated_recipient_open_count,
    human_estimated_recipient_open_count,
    estimated_total_open_count,
    human_estimated_total_open_count,
    opt_out_click_count,
    human_opt_out_click_count,
    mirror_page_click_count,
    human_mirror_page_click_count,
    recipient_click_count,
    human_recipient_click_count,
    person_click_count,
    human_person_click_count,
    total_click_count,
    human_total_click_count,
    person_click_count - recipient_click_count as forward_estimate,
    human_person_click_count - human_recipient_click_count as human_forward_estimate,
    {{ ratio('recipient_click_count', 'recipient_open_count') }} as raw_reactivity,
    {{ ratio('human_recipient_click_count', 'human_recipient_open_count') }} as human_raw_reactivity,
    {{ ratio('recipient_click_count', 'estimated_recipient_open_count') }} as estimated_reactivity,
    {{ ratio('human_recipient_click_count', 'human_estimated_recipient_open_count') }}
        as human_estimated_reactivity,
    {{ share_indicators() }},
    {{ ratio('person_click_count', 'success_count') }} as distinct_click_rate,
    {{ ratio('total_click_count', 'success_count') }} as cumulated_click_rate,
    {{ ratio('human_person_click_count', 'success_count') }} as human_distinct_click_rate,
    {{ ratio('human_total_click_count', 'success_count') }} as human_cumulated_click_rate,
    {{ web_indicators() }}
from estimates
