{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
        meta={'retention': 'statistics'},
    )
}}

with

opens as (
    select
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
    delivery_id,
    coalesce(shared_delivery_id, 0) as shared_delivery_id,
    network,
    cast(count(*) as bigint) as shared_open_count,
    cast(count(*) filter (where not is_machine) as bigint) as human_shared_open_count
from opens
where network is not null
group by delivery_id, coalesce(shared_delivery_id, 0), network
