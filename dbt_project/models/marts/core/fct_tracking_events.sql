{{ config(materialized='view') }}

select
    {{ tracking_event_columns() }}
from {{ ref('int_tracking_events__judged') }}
