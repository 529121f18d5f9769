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

-- One row per message, visitor and day first: far fewer than events, and enough for what is counted below.
activities as (
    select
        delivery_id,
        campaign_label,
        event_on,
        cast(date_trunc('week', event_on) as date) as week_on,
        cast(date_trunc('month', event_on) as date) as month_on,
        message_id,
        visitor_id,
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
    group by delivery_id, campaign_label, event_on, message_id, visitor_id
),

rollups as (
    {% for rollup, columns in [
        ('delivery', ['delivery_id']), ('campaign', ['campaign_label']), ('day', ['event_on']),
        ('week', ['week_on']), ('month', ['month_on']), ('all', []),
    ] -%}
    select
        '{{ rollup }}' as rollup,
        {{ 'delivery_id' if rollup == 'delivery' else 'cast(null as bigint)' }} as delivery_id,
        {{ 'campaign_label' if rollup == 'campaign' else 'cast(null as varchar)' }} as campaign_label,
        {{ columns[0] if rollup in ('day', 'week', 'month') else 'cast(null as date)' }} as period_on,
        {{ rollup_measures() }}
    from activities
    {% if rollup in ('day', 'week', 'month') -%}
    where event_on is not null
    {% endif -%}
    {% if columns -%}
    group by {{ columns[0] }}
    {% else -%}
    -- No row where there is no event, as in the other roll-ups.
    having count(*) > 0
    {% endif -%}
    {{ 'union all' if not loop.last }}
    {% endfor -%}
)

select
    rollup,
    case rollup
        when 'delivery' then cast(delivery_id as varchar)
        when 'campaign' then coalesce(campaign_label, '')
        when 'all' then 'all'
        else cast(period_on as varchar)
    end as rollup_key,
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
