-- Messages per local hour; $days back from the newest (0: all).
with

newest as (
    select max(local_bucket_at) as local_at from reports.rpt_delivery_throughput
)

select
    throughput.local_bucket_at,
    throughput.message_count,
    throughput.success_count,
    throughput.error_count,
    throughput.bits_per_second
from reports.rpt_delivery_throughput as throughput
cross join newest
where $days = 0 or throughput.local_bucket_at > newest.local_at - to_days($days)
order by throughput.local_bucket_at desc
