{{ config(materialized='view') }}

select
    {{ tracking_event_columns() }},
    cast(null as string) as attribution,
    cast(null as string) as tag,
    cast(null as decimal(18, 4)) as amount,
    cast(null as string) as amount_flag,
    cast(null as bigint) as article_count,
    cast(null as string) as article_count_flag,
    cast(null as string) as custom_params
from {{ ref('int_tracking_events__counted') }}
where not is_web_hit
union all
select
    {{ tracking_event_columns() }},
    {{ web_event_columns() }}
from {{ ref('int_web_hits__attributed') }}
where attribution is not null
