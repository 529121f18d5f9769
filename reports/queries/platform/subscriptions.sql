-- Each service over $days (0: all): from the first start to the last end.
with

newest as (
    select max(occurred_on) as occurred_on from reports.rpt_subscriptions
)

select
    subscription.service_label,
    arg_min(subscription.start_subscriber_count, subscription.occurred_on) as start_subscriber_count,
    sum(subscription.subscription_count)::bigint as subscription_count,
    sum(subscription.unsubscription_count)::bigint as unsubscription_count,
    sum(subscription.evolution)::bigint as evolution,
    sum(subscription.evolution)
    / nullif(arg_min(subscription.start_subscriber_count, subscription.occurred_on), 0) as evolution_rate,
    1 - sum(subscription.unsubscription_count) / nullif(
        arg_min(subscription.start_subscriber_count, subscription.occurred_on) + sum(subscription.evolution), 0
    ) as loyalty_rate,
    arg_max(subscription.end_subscriber_count, subscription.occurred_on) as end_subscriber_count
from reports.rpt_subscriptions as subscription
cross join newest
where $days = 0 or subscription.occurred_on > newest.occurred_on - to_days($days)
group by subscription.service_id, subscription.service_label
order by end_subscriber_count desc
