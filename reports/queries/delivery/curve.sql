-- The cumulative share of each activity per step of $bucket.
select
    activity,
    elapsed_seconds / 3600.0 as elapsed_hours,
    if($human, human_cumulative_count, cumulative_count) as cumulative_count,
    if($human, human_cumulative_count, cumulative_count)
    / nullif(max(if($human, human_cumulative_count, cumulative_count)) over (partition by activity), 0)
        as cumulative_share
from reports.rpt_tracking_statistics_curve
where delivery_id = $delivery_id
    and bucket = $bucket
order by activity, bucket_number
