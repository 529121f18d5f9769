{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
        meta={'retention': 'statistics'},
    )
}}

select
    delivery_id,
    outcome,
    cast(count(*) as bigint) as web_hit_count,
    cast(count(*) filter (where not is_machine) as bigint) as human_web_hit_count
from {{ ref('int_web_hits__attributed') }}
where {{ in_scope() }}
    and outcome <> 'no_web_hit'
group by delivery_id, outcome
