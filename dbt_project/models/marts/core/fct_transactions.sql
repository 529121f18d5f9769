{{ config(materialized='view') }}

select
    {{ tracking_event_columns() }},
    {{ web_event_columns() }}
from {{ ref('fct_tracking_events') }}
where url_type = 5
