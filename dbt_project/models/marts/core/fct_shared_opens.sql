-- A table of its own, because parameters are published masked: the network and the delivery in them are not.
{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
    )
}}

with

opens as (
    select
        event_key,
        delivery_id,
        is_machine,
        {{ network_shared_on('params') }} as network,
        {{ delivery_shared('params') }} as shared_delivery_id
    from {{ ref('fct_tracking_events') }}
    where {{ in_scope() }}
        and url_id = 1
        and instr('&' || params, '&ap_category=') > 0
)

select
    event_key,
    delivery_id,
    coalesce(shared_delivery_id, 0) as shared_delivery_id,
    network,
    is_machine
from opens
where network is not null
