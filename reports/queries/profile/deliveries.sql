-- What was sent to a recipient, what became of it, and how often they acted on it.
with

acts as (
    select
        delivery_id,
        count(*) filter (where url_id = 1) as open_count,
        count(*) filter (where url_type = 1) as click_count
    from reports.profile_tracking
    where recipient_id = $recipient_id
        and (not $human or not is_machine)
    group by delivery_id
)

select
    message.delivery_id,
    nullif(trim(delivery.delivery_label), '') as delivery_label,
    message.event_at,
    status.status_label,
    case when message.failure_reason <> 0 then reason.failure_label end as failure_label,
    coalesce(acts.open_count, 0) as open_count,
    coalesce(acts.click_count, 0) as click_count
from core.fct_messages as message
left join core.dim_deliveries as delivery
    on message.delivery_id = delivery.delivery_id
left join meta.message_statuses as status
    on message.status = status.status
left join meta.failure_reasons as reason
    on message.failure_reason = reason.failure_reason
left join acts
    on message.delivery_id = acts.delivery_id
where message.recipient_id = $recipient_id
order by message.event_at desc nulls last, message.message_id
limit 500
