-- Subscribers at the end of each day, for the $top services with most.
with

ranked as (
    select
        service_id,
        row_number() over (order by max(end_subscriber_count) desc, service_id) as position
    from reports.rpt_subscriptions
    group by service_id
),

newest as (
    select max(occurred_on) as occurred_on from reports.rpt_subscriptions
)

select
    ranked.position,
    subscription.service_label as line,
    subscription.occurred_on,
    subscription.end_subscriber_count
from reports.rpt_subscriptions as subscription
inner join ranked
    on subscription.service_id = ranked.service_id
cross join newest
where ranked.position <= $top
    and ($days = 0 or subscription.occurred_on > newest.occurred_on - to_days($days))
order by ranked.position, subscription.occurred_on
