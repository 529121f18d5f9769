{{ config(materialized='view') }}
select event_key, delivery_id, occurred_at from {{ ref('fct_tracking_events') }} where url_id = 1
