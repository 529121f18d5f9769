-- Opens by device, operating system and browser; $mobile: phones and tablets only, shares of these.
select
    device_class,
    os_name,
    browser_name,
    if($human, human_open_count, open_count) as open_count,
    if($human, human_open_count, open_count) / nullif(sum(if($human, human_open_count, open_count)) over (), 0)
        as open_share,
    if($human, human_recipient_open_count, recipient_open_count) as recipient_open_count
from reports.rpt_opens_by_device
where delivery_id = $delivery_id
    and (not $mobile or is_mobile)
    -- Of an open without consent nobody knows the recipient.
    and if($human, human_open_count, open_count) > 0
order by open_count desc, recipient_open_count desc, device_class, os_name, browser_name
