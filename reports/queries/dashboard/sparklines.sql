-- Opens and clicks of the listed deliveries in each of the 24 two-hour steps after sending.
with

steps as (
    select unnest(range(24)) as step
),

deliveries as (
    select
        delivery_id,
        sent_at
    from core.dim_deliveries
    where list_contains($ids, delivery_id)
        and sent_at is not null
),

activity as (
    select
        activity.delivery_id,
        cast(floor(epoch(activity.bucket_at - deliveries.sent_at) / 7200) as bigint) as step,
        sum(
            if(
                $human,
                activity.human_open_count + activity.human_click_count,
                activity.open_count + activity.click_count
            )
        ) as event_count
    from reports.rpt_user_activity as activity
    inner join deliveries
        on activity.delivery_id = deliveries.delivery_id
    where list_contains($ids, activity.delivery_id)
    group by all
)

select
    deliveries.delivery_id,
    list(coalesce(activity.event_count, 0)::double order by steps.step) as sparkline
from deliveries
cross join steps
left join activity
    on deliveries.delivery_id = activity.delivery_id
        and steps.step = activity.step
group by deliveries.delivery_id
