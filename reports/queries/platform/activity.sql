-- Opens, clicks and transactions of all deliveries over local time; $days back from the newest (0: all), in steps of $minutes.
with

newest as (
    select max(local_bucket_at) as local_at from reports.rpt_user_activity
)

select
    time_bucket(to_minutes($minutes), activity.local_bucket_at, timestamp '2000-01-01') as local_at,
    sum(if($human, activity.human_open_count, activity.open_count))::bigint as open_count,
    sum(if($human, activity.human_click_count, activity.click_count))::bigint as click_count,
    sum(if($human, activity.human_transaction_count, activity.transaction_count))::bigint as transaction_count
from reports.rpt_user_activity as activity
cross join newest
where $days = 0 or activity.local_bucket_at > newest.local_at - to_days($days)
group by all
order by local_at
