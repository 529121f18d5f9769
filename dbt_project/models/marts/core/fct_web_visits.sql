{{ config(materialized='view') }}

select
    {{ tracking_event_columns() }},
    attribution,
    tag,
    custom_params
from {{ ref('fct_tracking_events') }}
where url_type = 4
