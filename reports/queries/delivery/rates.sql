-- Click rates beside those of comparable deliveries.
select
    if($human, human_reactivity, reactivity) as reactivity,
    if($human, human_platform_average_reactivity, platform_average_reactivity) as platform_average_reactivity,
    if($human, human_distinct_click_rate, distinct_click_rate) as distinct_click_rate,
    if($human, human_platform_average_distinct_click_rate, platform_average_distinct_click_rate)
        as platform_average_distinct_click_rate,
    if($human, human_cumulated_click_rate, cumulated_click_rate) as cumulated_click_rate,
    if($human, human_platform_average_cumulated_click_rate, platform_average_cumulated_click_rate)
        as platform_average_cumulated_click_rate,
    platform_delivery_count
from reports.rpt_delivery_rates
where delivery_id = $delivery_id
