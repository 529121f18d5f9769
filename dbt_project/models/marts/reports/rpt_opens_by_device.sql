{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
    )
}}

with

events as (
    select
        delivery_id,
        message_id,
        url_id,
        coalesce(device_class, 'unknown') as device_class,
        coalesce(os_name, 'unknown') as os_name,
        coalesce(browser_name, 'unknown') as browser_name,
        is_machine
    from {{ ref('fct_tracking_events') }}
    where {{ in_scope() }}
        and {{ is_message_tracking() }}
),

-- One row per message and device first: far cheaper than distinct counts over all events.
active_messages as (
    select
        delivery_id,
        device_class,
        os_name,
        browser_name,
        message_id,
        count(*) filter (where url_id = 1) as open_count,
        count(*) filter (where url_id = 1 and not is_machine) as human_open_count,
        bool_or(not is_machine) as has_human_event
    from events
    group by delivery_id, device_class, os_name, browser_name, message_id
),

devices as (
    select
        delivery_id,
        device_class,
        os_name,
        browser_name,
        cast(sum(open_count) as bigint) as open_count,
        cast(sum(human_open_count) as bigint) as human_open_count,
        cast(count(*) filter (where message_id <> 0) as bigint) as recipient_open_count,
        cast(count(*) filter (where message_id <> 0 and has_human_event) as bigint)
            as human_recipient_open_count
    from active_messages
    group by delivery_id, device_class, os_name, browser_name
),

totals as (
    select
        delivery_id,
        cast(sum(open_count) as bigint) as open_count,
        cast(sum(human_open_count) as bigint) as human_open_count
    from devices
    group by delivery_id
)

select
    devices.delivery_id,
    devices.device_class,
    devices.os_name,
    devices.browser_name,
    devices.device_class in ('phone', 'tablet') as is_mobile,
    devices.open_count,
    devices.human_open_count,
    {{ ratio('devices.open_count', 'totals.open_count') }} as open_share,
    {{ ratio('devices.human_open_count', 'totals.human_open_count') }} as human_open_share,
    devices.recipient_open_count,
    devices.human_recipient_open_count
from devices
inner join totals
    on devices.delivery_id = totals.delivery_id
