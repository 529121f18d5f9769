-- Every accepted line up to where the events have been read is one event, or a web hit that is not kept: none
-- lost, none doubled.
with

read_to as (
    select batch_id from {{ state_relation('model_marks') }}
    where model = 'int_tracking_events__judged'
),

lines as (
    select count(*) as line_count from {{ ref('stg_tracking_logs__lines') }}
    where batch_id <= (select read_to.batch_id from read_to)
),

events as (
    select count(*) as event_count from {{ ref('fct_tracking_events') }}
    where source = 'tracking_log'
),

web_hits as (
    select count(*) as left_out_count from {{ ref('int_web_hits__attributed') }}
    where source = 'tracking_log'
        and outcome in ('unattributed', 'opted_out')
)

select
    lines.line_count,
    events.event_count,
    web_hits.left_out_count
from lines
cross join events
cross join web_hits
where lines.line_count <> events.event_count + web_hits.left_out_count
