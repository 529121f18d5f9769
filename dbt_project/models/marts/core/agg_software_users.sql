{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
        meta={'retention': 'statistics'},
    )
}}

with

clicks as (
    select
        delivery_id,
        {{ local_day('occurred_at') }} as clicked_on,
        coalesce(os_name, 'unknown') as os_name,
        coalesce(os_version, 'unknown') as os_version,
        coalesce(browser_name, 'unknown') as browser_name,
        coalesce(browser_version, 'unknown') as browser_version,
        recipient_id,
        is_machine
    from {{ ref('fct_tracking_events') }}
    where {{ in_scope() }}
        and url_type = 1
        and is_in_time_range
)

select
    delivery_id,
    clicked_on,
    os_name,
    os_version,
    browser_name,
    browser_version,
    case when recipient_id <> 0 then cast(recipient_id as string) else '' end as person_key,
    cast(count(*) as bigint) as page_count,
    cast(count(*) filter (where not is_machine) as bigint) as human_page_count
from clicks
group by delivery_id, clicked_on, os_name, os_version, browser_name, browser_version, recipient_id
