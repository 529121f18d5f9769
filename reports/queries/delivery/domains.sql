-- What arrived and was answered, by recipient domain.
select
    mail_domain,
    processed_count,
    delivered_rate,
    hard_bounce_rate,
    soft_bounce_rate,
    if($human, human_recipient_open_rate, recipient_open_rate) as recipient_open_rate,
    if($human, human_person_click_rate, person_click_rate) as person_click_rate,
    if($human, human_opt_out_click_rate, opt_out_click_rate) as opt_out_click_rate
from reports.rpt_delivery_statistics
where delivery_id = $delivery_id
order by processed_count desc, mail_domain
limit 200
