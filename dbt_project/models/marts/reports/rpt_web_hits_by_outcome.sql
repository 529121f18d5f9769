with

hits as (
    select * from {{ ref('agg_web_hits') }}
),

outcomes as (
    select
        outcome,
        is_kept
    from (
        values
        ('session', true),
        ('forced', true),
        ('last_delivery', true),
        ('anonymous', true),
        ('unattributed', false),
        ('opted_out', false)
    ) as listed (outcome, is_kept) -- noqa: AL05
)

select
    outcomes.outcome,
    outcomes.is_kept,
    '{{ var("web_tracking_mode") }}' as web_tracking_mode,
    cast(coalesce(sum(hits.web_hit_count), 0) as bigint) as web_hit_count,
    cast(coalesce(sum(hits.human_web_hit_count), 0) as bigint) as human_web_hit_count
from outcomes
left join hits
    on outcomes.outcome = hits.outcome
group by outcomes.outcome, outcomes.is_kept
