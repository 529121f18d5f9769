-- Every accepted line up to where events have been read is one event of its source: none lost, none doubled;
-- but for web hits that are not kept, and for what a provider tells of an act that is counted already.
with

read_to as (
    select batch_id from {{ marks_of(['int_tracking_events__judged']) }}
),

lines as (
    select
        'tracking_log' as source,
        batch_id
    from {{ ref('stg_tracking_logs__lines') }}
    union all
    select
        'access_log' as source,
        batch_id
    from {{ ref('stg_access_logs__requests') }}
    union all
    select
        'esp_event' as source,
        batch_id
    from {{ ref('stg_esp_events__events') }}
    where {{ is_esp_tracking() }}
),

read_lines as (
    select
        source,
        count(*) as line_count
    from lines
    where batch_id <= (select read_to.batch_id from read_to)
    group by source
),

events as (
    select source from {{ ref('fct_tracking_events') }}
    union all
    select source from {{ ref('int_web_hits__attributed') }}
    where outcome in ('unattributed', 'opted_out')
    union all
    select 'esp_event' as source from {{ ref('int_tracking_events__reconciled') }}
    where not is_counted
),

counted_events as (
    select
        source,
        count(*) as event_count
    from events
    group by source
)

select
    coalesce(read_lines.source, counted_events.source) as source,
    read_lines.line_count,
    counted_events.event_count
from read_lines
full outer join counted_events
    on read_lines.source = counted_events.source
where coalesce(read_lines.line_count, 0) <> coalesce(counted_events.event_count, 0)
