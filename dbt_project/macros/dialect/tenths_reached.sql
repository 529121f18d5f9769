{# Of each delivery and activity, the smallest elapsed time such that the events up to it are at least so many tenths of all, and
   likewise without machines. Goes on after the CTE `elapsed` (delivery_id, activity, elapsed_us, is_human) of
   rpt_tracking_statistics and ends the query. Exact: a tenth of a count is compared as a whole number, a double would miss some.

   DuckDB finds places without sorting, and counts in decimals where it is told decimals. Spark would hold all events of a
   delivery in one row for that; there each event is counted up to, which goes through the disk where it must. #}
{% macro tenths_reached() -%}
    {{ return(adapter.dispatch('tenths_reached')()) }}
{%- endmacro %}

{% macro default__tenths_reached() -%}
{%- set tenths = '[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]' -%}
measured as (
    select
        delivery_id,
        activity,
        count(*) as total_count,
        cast(sum(cast(is_human as integer)) as bigint) as human_total_count,
        quantile_disc(elapsed_us, {{ tenths }}) as reached_us,
        quantile_disc(elapsed_us, {{ tenths }}) filter (where is_human) as human_reached_us
    from elapsed
    group by delivery_id, activity
),

numbers as (
    select cast(tenth as bigint) as tenth
    from (values (1), (2), (3), (4), (5), (6), (7), (8), (9)) as numbers (tenth)
)

select
    measured.delivery_id,
    measured.activity,
    10 * numbers.tenth as percentile,
    cast(measured.reached_us[numbers.tenth] as double) / 1000000 as seconds_to_reach,
    cast(measured.human_reached_us[numbers.tenth] as double) / 1000000 as human_seconds_to_reach,
    measured.total_count,
    measured.human_total_count
from measured
cross join numbers
{%- endmacro %}

{% macro spark__tenths_reached() -%}
tenths as (
    select cast(tenth as bigint) as tenth
    from (values (1), (2), (3), (4), (5), (6), (7), (8), (9)) as numbers (tenth)
),

counted as (
    select
        delivery_id,
        activity,
        elapsed_us,
        cast(is_human as integer) as human_count
    from elapsed
),

-- One event after the other. Which of several at one moment comes first does not matter: whatever they reach,
-- they reach it at that moment.
cumulated as (
    select
        delivery_id,
        activity,
        elapsed_us,
        human_count,
        cast(row_number() over until_then as bigint) as reached_count,
        cast(sum(human_count) over until_then as bigint) as human_reached_count,
        count(*) over all_of_it as total_count,
        cast(sum(human_count) over all_of_it as bigint) as human_total_count,
        greatest(cast(sum(human_count) over all_of_it as bigint), 1) as human_divisor
    from counted
    window
        until_then as (
            partition by delivery_id, activity
            order by elapsed_us asc nulls last
            rows between unbounded preceding and current row
        ),
        all_of_it as (partition by delivery_id, activity)
),

-- Whole tenths reached before and after each event, in integers: a double would miss some exact tenths.
reached as (
    select
        delivery_id,
        activity,
        elapsed_us,
        total_count,
        human_total_count,
        {{ integer_divide('10 * (reached_count - 1)', 'total_count') }} as tenths_before,
        {{ integer_divide('10 * reached_count', 'total_count') }} as tenths_after,
        {{ integer_divide('10 * (human_reached_count - human_count)', 'human_divisor') }}
            as human_tenths_before,
        {{ integer_divide('10 * human_reached_count', 'human_divisor') }} as human_tenths_after
    from cumulated
),

-- Most events reach no further tenth.
steps as (
    select
        *,
        cast(elapsed_us as double) / 1000000 as elapsed_seconds
    from reached
    where tenths_after > tenths_before
        or human_tenths_after > human_tenths_before
)

select
    steps.delivery_id,
    steps.activity,
    10 * tenths.tenth as percentile,
    min(steps.elapsed_seconds) filter (
        where tenths.tenth > steps.tenths_before and tenths.tenth <= steps.tenths_after
    ) as seconds_to_reach,
    min(steps.elapsed_seconds) filter (
        where tenths.tenth > steps.human_tenths_before and tenths.tenth <= steps.human_tenths_after
    ) as human_seconds_to_reach,
    steps.total_count,
    steps.human_total_count
from steps
cross join tenths
group by
    steps.delivery_id,
    steps.activity,
    tenths.tenth,
    steps.total_count,
    steps.human_total_count
{%- endmacro %}
