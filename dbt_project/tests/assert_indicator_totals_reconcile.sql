-- The indicators of all deliveries whose events are kept are the facts: what no delivery has lost, none has
-- twice.
with

indicators as (
    select
        cast(sum(total_open_count) as bigint) as open_count,
        cast(sum(total_click_count) as bigint) as click_count,
        cast(sum(opt_out_click_count) as bigint) as opt_out_count,
        cast(sum(mirror_page_click_count) as bigint) as mirror_page_count,
        cast(sum(page_visit_count) as bigint) as page_visit_count,
        sum(transaction_amount) as transaction_amount,
        cast(sum(to_deliver_count) as bigint) as to_deliver_count
    from {{ ref('rpt_tracking_indicators') }}
    where delivery_id not in (select purges.delivery_id from {{ ref('purges') }} as purges)
),

events as (
    select
        count(*) filter (where url_id = 1) as open_count,
        count(*) filter (where url_type = 1) as click_count,
        count(*) filter (where url_type = 3) as opt_out_count,
        count(*) filter (where url_type = 6) as mirror_page_count,
        count(*) filter (where url_type in (4, 5)) as page_visit_count,
        sum(amount) as transaction_amount
    from {{ ref('fct_tracking_events') }}
    where delivery_id not in (select purges.delivery_id from {{ ref('purges') }} as purges)
),

messages as (
    select count(*) as to_deliver_count from {{ ref('fct_messages') }}
    where status <> 0
        and delivery_id not in (select purges.delivery_id from {{ ref('purges') }} as purges)
)

select
    indicators.open_count,
    events.open_count as event_open_count,
    indicators.click_count,
    events.click_count as event_click_count,
    indicators.opt_out_count,
    events.opt_out_count as event_opt_out_count,
    indicators.mirror_page_count,
    events.mirror_page_count as event_mirror_page_count,
    indicators.page_visit_count,
    events.page_visit_count as event_page_visit_count,
    indicators.transaction_amount,
    events.transaction_amount as event_transaction_amount,
    indicators.to_deliver_count,
    messages.to_deliver_count as message_to_deliver_count
from indicators
cross join events
cross join messages
where coalesce(indicators.open_count, 0) <> events.open_count
    or coalesce(indicators.click_count, 0) <> events.click_count
    or coalesce(indicators.opt_out_count, 0) <> events.opt_out_count
    or coalesce(indicators.mirror_page_count, 0) <> events.mirror_page_count
    or coalesce(indicators.page_visit_count, 0) <> events.page_visit_count
    or coalesce(indicators.transaction_amount, 0) <> coalesce(events.transaction_amount, 0)
    or coalesce(indicators.to_deliver_count, 0) <> messages.to_deliver_count
