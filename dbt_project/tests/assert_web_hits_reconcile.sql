-- Every web hit has one outcome, and every one that counts is in the facts: none lost, none doubled. Hits of
-- purged deliveries are counted and are no more.
with

hits as (
    select count(*) as hit_count from {{ ref('int_tracking_events__judged') }}
    where is_web_hit
),

outcomes as (
    select
        cast(sum(web_hit_count) as bigint) as hit_count,
        cast(sum(web_hit_count) filter (where is_kept) as bigint) as kept_count
    from {{ ref('rpt_web_hits_by_outcome') }}
),

purged as (
    select cast(coalesce(sum(web_hit_count), 0) as bigint) as hit_count from {{ ref('agg_web_hits') }}
    where delivery_id in (select purges.delivery_id from {{ ref('purges') }} as purges)
),

facts as (
    select
        count(*) filter (where purges.delivery_id is null) as kept_count,
        count(*) filter (where purges.delivery_id is not null) as late_count
    from {{ ref('fct_tracking_events') }} as events
    left join {{ ref('purges') }} as purges
        on events.delivery_id = purges.delivery_id
            and purges.kind = 'tracking'
    where events.attribution is not null
)

select
    hits.hit_count,
    purged.hit_count as purged_count,
    outcomes.hit_count as outcome_count,
    outcomes.kept_count,
    facts.kept_count as fact_count
from hits
cross join outcomes
cross join purged
cross join facts
where hits.hit_count - facts.late_count + purged.hit_count <> outcomes.hit_count
    or outcomes.kept_count <> facts.kept_count + purged.hit_count
