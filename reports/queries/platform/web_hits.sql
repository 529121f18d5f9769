-- What became of every hit of a web-tracking tag.
select
    outcome,
    is_kept,
    if($human, human_web_hit_count, web_hit_count) as web_hit_count
from reports.rpt_web_hits_by_outcome
order by web_hit_count desc
