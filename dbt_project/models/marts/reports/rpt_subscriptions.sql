with

services as (
    select
        service_id,
        service_label
    from {{ ref('dim_services') }}
),

actions as (
    select
        service_id,
        recipient_id,
        action,
        occurred_at
    from {{ ref('fct_subscriptions') }}
    where action in (0, 1)
        and is_in_time_range
),

-- Whether an action changed the state of its subscription. At one moment, to unsubscribe is the last word.
ordered as (
    select
        service_id,
        action,
        occurred_at,
        {{ local_day('occurred_at') }} as occurred_on,
        coalesce(lag(action) over (
            partition by service_id, recipient_id
            order by occurred_at asc nulls last, action desc
        ), 0) as action_before
    from actions
),

-- Days begin in 2000, as in every statistic over time; who subscribed before is there from the first day.
counted as (
    select
        service_id,
        case when occurred_at >= timestamp '2000-01-01' then occurred_on end as occurred_on,
        cast(count(*) filter (where action = 1) as bigint) as subscription_count,
        cast(count(*) filter (where action = 0) as bigint) as unsubscription_count,
        cast(count(*) filter (where action = 1 and action_before = 0) as bigint) as new_subscriber_count,
        cast(count(*) filter (where action = 0 and action_before = 1) as bigint) as lost_subscriber_count
    from ordered
    group by service_id, case when occurred_at >= timestamp '2000-01-01' then occurred_on end
),

spans as (
    select
        service_id,
        min(occurred_on) as first_on,
        max(occurred_on) as last_on,
        coalesce(
            sum(new_subscriber_count - lost_subscriber_count) filter (where occurred_on is null), 0
        ) as subscriber_count_before
    from counted
    group by service_id
),

days as (
    select
        service_id,
        subscriber_count_before,
        {{ day_series('first_on', 'last_on') }} as occurred_on
    from spans
    where first_on is not null
),

daily as (
    select
        days.service_id,
        days.occurred_on,
        days.subscriber_count_before,
        coalesce(counted.subscription_count, 0) as subscription_count,
        coalesce(counted.unsubscription_count, 0) as unsubscription_count,
        coalesce(counted.new_subscriber_count, 0) as new_subscriber_count,
        coalesce(counted.lost_subscriber_count, 0) as lost_subscriber_count
    from days
    left join counted
        on days.service_id = counted.service_id
            and days.occurred_on = counted.occurred_on
),

cumulated as (
    select
        *,
        cast(subscriber_count_before + sum(new_subscriber_count - lost_subscriber_count) over (
            partition by service_id
            order by occurred_on asc nulls last
            rows between unbounded preceding and current row
        ) as bigint) as end_subscriber_count
    from daily
),

started as (
    select
        *,
        end_subscriber_count - new_subscriber_count + lost_subscriber_count as start_subscriber_count
    from cumulated
)

select
    started.service_id,
    services.service_label,
    started.occurred_on,
    started.start_subscriber_count,
    started.subscription_count,
    started.unsubscription_count,
    started.subscription_count - started.unsubscription_count as evolution,
    {{ ratio('started.subscription_count - started.unsubscription_count', 'started.start_subscriber_count') }}
        as evolution_rate,
    1 - {{ ratio(
        'started.unsubscription_count',
        '(started.start_subscriber_count + started.subscription_count - started.unsubscription_count)'
    ) }} as loyalty_rate,
    started.new_subscriber_count,
    started.lost_subscriber_count,
    started.end_subscriber_count
from started
inner join services
    on started.service_id = services.service_id
