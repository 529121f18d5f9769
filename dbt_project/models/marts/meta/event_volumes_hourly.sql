-- What each server wrote: every accepted event, also those that a provider tells of a second time. Hours
-- without any have no row.
select
    source,
    coalesce(server, '') as server,
    {{ start_of('hour', 'occurred_at') }} as hour_at,
    cast(count(*) as bigint) as event_count,
    cast(count(*) filter (where url_type = 3) as bigint) as opt_out_count,
    cast(count(*) filter (where url_type = 3 and not is_machine) as bigint) as human_opt_out_count
from {{ ref('int_tracking_events__judged') }}
where is_in_time_range
group by source, coalesce(server, ''), {{ start_of('hour', 'occurred_at') }}
