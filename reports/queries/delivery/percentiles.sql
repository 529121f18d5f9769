-- How long after sending each tenth of the final total was reached.
select
    percentile,
    max(if($human, human_seconds_to_reach, seconds_to_reach)) filter (where activity = 'opens') as opens_seconds,
    max(if($human, human_seconds_to_reach, seconds_to_reach)) filter (where activity = 'clicks') as clicks_seconds,
    max(if($human, human_seconds_to_reach, seconds_to_reach)) filter (where activity = 'transactions')
        as transactions_seconds
from reports.rpt_tracking_statistics
where delivery_id = $delivery_id
group by percentile
order by percentile
