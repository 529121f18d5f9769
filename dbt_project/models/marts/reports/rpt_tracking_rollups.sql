-- A table: roll-ups are of many deliveries. Counted anew from the facts, since distinct counts do not add up.
with

deliveries as (
    select
        delivery_id,
        nullif(trim(campaign_label), '') as campaign_label
    from {{ ref('dim_deliveries') }}
),

events as (
    select
        facts.delivery_id,
        deliveries.campaign_label,
        case when facts.is_in_time_range then {{ local_day('facts.occurred_at') }} end as event_on,
        facts.message_id,
        facts.visitor_id,
        facts.url_id,
        facts.url_type,
        facts.is_machine
    from {{ ref('fct_tracking_events') }} as facts
    inner join deliveries
        on facts.delivery_id = deliveries.delivery_id
),

-- One row per message and day first, and one per visitor and day with clicks: all that distinct counts need.
-- A distinct count then is a grouping and a sum, a tenth of the cost of distinct counts side by side.
message_days as (
    select
        delivery_id,
        campaign_label,
        event_on as day_on,
        cast(date_trunc('week', event_on) as date) as week_on,
        cast(date_trunc('month', event_on) as date) as month_on,
        message_id,
        count(*) filter (where url_id = 1) as open_count,
        count(*) filter (where url_id = 1 and not is_machine) as human_open_count,
        count(*) filter (where url_type = 1) as click_count,
        count(*) filter (where url_type = 1 and not is_machine) as human_click_count,
        count(*) filter (where url_type = 3) as opt_out_count,
        count(*) filter (where url_type = 3 and not is_machine) as human_opt_out_count,
        count(*) filter (where url_type = 6) as mirror_page_count,
        count(*) filter (where url_type = 6 and not is_machine) as human_mirror_page_count,
        count(*) filter (where {{ is_message_tracking() }}) as tracking_count,
        count(*) filter (where {{ is_message_tracking() }} and not is_machine) as human_tracking_count
    from events
    group by delivery_id, campaign_label, event_on, message_id
),

visitor_days as (
    select
        delivery_id,
        campaign_label,
        event_on as day_on,
        cast(date_trunc('week', event_on) as date) as week_on,
        cast(date_trunc('month', event_on) as date) as month_on,
        visitor_id,
        bool_or(not is_machine) as has_human_click
    from events
    where url_type = 1 and visitor_id <> ''
    group by delivery_id, campaign_label, event_on, visitor_id
),

delivery_days as (
    select distinct
        delivery_id,
        campaign_label,
        day_on,
        week_on,
        month_on
    from message_days
),
{% for rollup in ['delivery', 'campaign', 'day', 'week', 'month', 'all'] %}
{{ rollup_counts(rollup) }},
{% endfor %}
rollups as (
    {% for rollup in ['delivery', 'campaign', 'day', 'week', 'month', 'all'] -%}
    select * from {{ rollup }}_counts
    {{ 'union all' if not loop.last }}
    {% endfor -%}
)

select
    rollup,
    rollup_key,
    delivery_id,
    campaign_label,
    period_on,
    delivery_count,
    recipient_open_count,
    human_recipient_open_count,
    total_open_count,
    human_total_open_count,
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
    {{ ratio('human_recipient_click_count', 'human_recipient_open_count') }} as human_raw_reactivity
from rollups
