-- Each service over $days (0: all): from the first start to the last end. One without actions in them is as it was.
with

newest as (
    select max(occurred_on) as occurred_on from reports.rpt_subscriptions
),

services as (
    select
        service_id,
        arg_max(service_label, occurred_on) as service_label,
        arg_max(end_subscriber_count, occurred_on) as subscriber_count
    from reports.rpt_subscriptions
    group by service_id
),

chosen as (
    select
        subscription.service_id,
        arg_min(subscription.start_subscriber_count, subscription.occurred_on) as start_subscriber_count,
        sum(subscription.subscription_count)::bigint as subscription_count,
        sum(subscription.unsubscription_count)::bigint as unsubscription_count,
        sum(subscription.evolution)::bigint as evolution
    from reports.rpt_subscriptions as subscription
    cross join newest
    where $days = 0 or subscription.occurred_on > newest.occurred_on - to_days($days)
    group by subscription.service_id
),

filled as (
    select
        services.service_label,
        coalesce(chosen.start_subscriber_count, services.subscriber_count) as start_subscriber_count,
        coalesce(chosen.subscription_count, 0) as subscription_count,
        coalesce(chosen.unsubscription_count, 0) as unsubscription_count,
        coalesce(chosen.evolution, 0) as evolution,
        services.subscriber_count as end_subscriber_count
    from services
    left join chosen
        on services.service_id = chosen.service_id
)

select
    service_label,
    start_subscriber_count,
    subscription_count,
    unsubscription_count,
    evolution,
    evolution / nullif(start_subscriber_count, 0) as evolution_rate,
    1 - unsubscription_count / nullif(start_subscriber_count + evolution, 0) as loyalty_rate,
    end_subscriber_count
from filled
order by end_subscriber_count desc, service_label
