{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
        meta={'retention': 'statistics'},
    )
}}

select
    delivery_id,
    url_id,
    {{ five_minute_bucket('occurred_at') }} as bucket_at,
    cast(count(*) as bigint) as total_clicks,
    cast(count(*) filter (where not is_machine) as bigint) as human_total_clicks
from {{ ref('fct_tracking_events') }}
where {{ in_scope() }}
    and url_id <> 1
    and is_in_time_range
group by delivery_id, url_id, {{ five_minute_bucket('occurred_at') }}
