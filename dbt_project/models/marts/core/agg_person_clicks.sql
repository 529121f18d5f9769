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
        case when is_in_time_range then {{ local_day('occurred_at') }} end as clicked_on,
        visitor_id,
        is_machine
    from {{ ref('fct_tracking_events') }}
    where {{ in_scope() }}
        and url_type = 1
        and visitor_id <> ''
)

select
    delivery_id,
    coalesce(cast(clicked_on as string), '') as day_key,
    clicked_on,
    visitor_id as person_key,
    bool_or(not is_machine) as has_human_click
from clicks
group by delivery_id, clicked_on, visitor_id
