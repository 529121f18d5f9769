with

clicks as (
    select
        {{ local_day('occurred_at') }} as clicked_on,
        coalesce(os_name, 'unknown') as os_name,
        coalesce(os_version, 'unknown') as os_version,
        recipient_id,
        is_machine
    from {{ ref('fct_tracking_events') }}
    where url_type = 1
        and is_in_time_range
),

{{ software_usage('os_name', 'os_version') }}
