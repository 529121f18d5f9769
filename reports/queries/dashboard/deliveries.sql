-- One page of the list of deliveries. $search: part of a label or campaign, or an id; $order: newest, label, opens, clicks.
with

found as (
    select
        dashboard.delivery_id,
        nullif(trim(dashboard.delivery_label), '') as delivery_label,
        delivery.campaign_label,
        delivery.is_proof,
        dashboard.sent_at,
        dashboard.to_deliver_count,
        dashboard.sending_progress,
        dashboard.success_rate,
        if($human, dashboard.human_recipient_open_count, dashboard.recipient_open_count) as recipient_open_count,
        if($human, dashboard.human_recipient_click_count, dashboard.recipient_click_count) as recipient_click_count,
        dashboard.success_count,
        if($human, dashboard.human_raw_reactivity, dashboard.raw_reactivity) as raw_reactivity
    from reports.delivery_dashboard as dashboard
    inner join core.dim_deliveries as delivery
        on dashboard.delivery_id = delivery.delivery_id
    where $search = ''
        or contains(lower(coalesce(dashboard.delivery_label, '')), lower($search))
        or contains(lower(coalesce(delivery.campaign_label, '')), lower($search))
        or contains(lower(coalesce(delivery.internal_name, '')), lower($search))
        or cast(dashboard.delivery_id as varchar) = $search
)

select
    *,
    recipient_open_count / nullif(success_count, 0) as open_rate,
    recipient_click_count / nullif(success_count, 0) as click_rate,
    count(*) over () as found_count,
    sum(success_count) over () as found_success_count
from found
order by
    case when $order = 'label' then lower(delivery_label) end asc nulls last,
    case when $order = 'opens' then recipient_open_count / nullif(success_count, 0) end desc nulls last,
    case when $order = 'clicks' then recipient_click_count / nullif(success_count, 0) end desc nulls last,
    sent_at desc nulls last,
    delivery_id
limit $rows offset $skipped
