-- Each step of each web path, its visitors by where they came from.
select
    path_label,
    position,
    coalesce(nullif(trim(label), ''), 'page ' || url_id) as label,
    if($human, human_path_visitor_count, path_visitor_count) as path_visitor_count,
    if($human, human_delivery_visitor_count, delivery_visitor_count) as delivery_visitor_count,
    if($human, human_path_source_visitor_count, path_source_visitor_count) as path_source_visitor_count,
    if($human, human_no_source_visitor_count, no_source_visitor_count) as no_source_visitor_count,
    if($human, human_lost_visitor_count, lost_visitor_count) as lost_visitor_count,
    if($human, human_lost_visitor_rate, lost_visitor_rate) as lost_visitor_rate,
    if($human, human_conversion_rate, conversion_rate) as conversion_rate,
    if($human, human_bounce_rate, bounce_rate) as bounce_rate
from reports.rpt_web_paths
order by path_label, position
limit 500
