-- Every web hit has one outcome, and every one that is kept is in the facts: none lost, none doubled.
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

facts as (
    select count(*) as kept_count from {{ ref('fct_tracking_events') }}
    where attribution is not null
)

select
    hits.hit_count,
    outcomes.hit_count as outcome_count,
    outcomes.kept_count,
    facts.kept_count as fact_count
from hits
cross join outcomes
cross join facts
where hits.hit_count <> outcomes.hit_count
    or outcomes.kept_count <> facts.kept_count
