-- A recipient's subscriptions and departures.
select
    subscription.occurred_at,
    coalesce(service.service_label, 'service ' || subscription.service_id) as service_label,
    subscription.action = 1 as is_subscription
from core.fct_subscriptions as subscription
left join core.dim_services as service
    on subscription.service_id = service.service_id
where subscription.recipient_id = $recipient_id
order by subscription.occurred_at desc
limit 500
