-- Opens and clicks of the listed deliveries in each of the 24 two-hour steps after sending.
with

steps as (
    select unnest(range(24)) as step
),

-- By the moment of sending, not by half-hours of the clock: most mails are opened in the first minutes.
activity as (
    select
        delivery_id,
        (bucket_number - 1) // 2 as step,
        sum(if($human, human_event_count, event_count)) as event_count
    from reports.rpt_tracking_statistics_curve
    where list_contains($ids, delivery_id)
        and bucket = '1 hour'
        and activity in ('opens', 'clicks')
        and bucket_number between 1 and 48
    group by all
)

select
    deliveries.delivery_id,
    list(coalesce(activity.event_count, 0)::double order by steps.step) as sparkline
from core.dim_deliveries as deliveries
cross join steps
left join activity
    on deliveries.delivery_id = activity.delivery_id
        and steps.step = activity.step
where list_contains($ids, deliveries.delivery_id)
    and deliveries.sent_at is not null
group by deliveries.delivery_id
