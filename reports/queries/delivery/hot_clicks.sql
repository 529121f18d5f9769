-- The share of each link's clicks, by its position in the HTML.
select
    link_position,
    url_id,
    coalesce(nullif(trim(label), ''), 'link ' || url_id) as label,
    source_url as url,
    if($human, human_click_count, click_count) as click_count,
    if($human, human_click_share, click_share) as click_share,
    is_in_content,
    is_drawn
from reports.rpt_hot_clicks
where delivery_id = $delivery_id
order by link_position
