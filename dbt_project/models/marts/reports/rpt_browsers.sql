with

clicks as (
    select
        {{ local_day('occurred_at') }} as clicked_on,
        coalesce(browser_name, 'unknown') as browser_name,
        coalesce(browser_version, 'unknown') as browser_version,
        recipient_id,
        is_machine
    from {{ ref('fct_tracking_events') }}
    where url_type = 1
        and is_in_time_range
),

{{ software_usage('browser_name', 'browser_version') }}
