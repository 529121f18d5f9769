-- Sharing on each network, all deliveries together.
select
    network,
    sum(if($human, human_share_count, share_count))::bigint as share_count,
    sum(if($human, human_share_count, share_count))
    / nullif(sum(sum(if($human, human_share_count, share_count))) over (), 0) as share_of_shares,
    sum(if($human, human_shared_open_count, shared_open_count))::bigint as shared_open_count
from reports.rpt_sharing
group by network
order by share_count desc, network
