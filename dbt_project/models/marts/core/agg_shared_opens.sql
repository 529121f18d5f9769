{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
        meta={'retention': 'statistics'},
    )
}}

select
    delivery_id,
    shared_delivery_id,
    network,
    cast(count(*) as bigint) as shared_open_count,
    cast(count(*) filter (where not is_machine) as bigint) as human_shared_open_count
from {{ ref('fct_shared_opens') }}
where {{ in_scope() }}
group by delivery_id, shared_delivery_id, network
