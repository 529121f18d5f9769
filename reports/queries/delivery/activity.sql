-- Opens, clicks and transactions over local time, in steps of $minutes (30, 60 or 1440).
select
    time_bucket(to_minutes($minutes), local_bucket_at, timestamp '2000-01-01') as local_at,
    sum(if($human, human_open_count, open_count))::bigint as open_count,
    sum(if($human, human_click_count, click_count))::bigint as click_count,
    sum(if($human, human_transaction_count, transaction_count))::bigint as transaction_count
from reports.rpt_user_activity
where delivery_id = $delivery_id
group by all
order by local_at
