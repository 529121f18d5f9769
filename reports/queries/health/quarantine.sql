-- Lines that were set aside, by source and reason.
select
    source,
    reason,
    sum(line_count)::bigint as line_count,
    count(distinct source_file) as file_count,
    max(last_ingested_at) as last_ingested_at
from meta.quarantined_lines
group by source, reason
order by line_count desc, source, reason
limit 100
