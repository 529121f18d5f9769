{# Per visitor, the earliest moment at which each step of a path was reached in order: the CTE `reached` (path_label, position,
   is_human, visitor, reached_at). Goes on after the CTEs `steps` and `seen` of rpt_web_paths.

   DuckDB recurses from step to step. Spark's recursion takes no aggregate: there a visitor's hits are one row, and the way
   a fold over the steps, which ends at the first that was not reached. #}
{% macro steps_reached() -%}
    {{ return(adapter.dispatch('steps_reached')()) }}
{%- endmacro %}

{% macro default__steps_reached() -%}
reached as (
    select
        steps.path_label,
        steps.position,
        seen.is_human,
        seen.visitor,
        min(seen.occurred_at) as reached_at
    from steps
    inner join seen
        on steps.url_id = seen.url_id
    where steps.position = 1
    group by steps.path_label, steps.position, seen.is_human, seen.visitor
    union all
    select
        steps.path_label,
        steps.position,
        seen.is_human,
        seen.visitor,
        min(seen.occurred_at) as reached_at
    from reached
    inner join steps
        on reached.path_label = steps.path_label
            and reached.position + 1 = steps.position
    inner join seen
        on steps.url_id = seen.url_id
            and reached.is_human = seen.is_human
            and reached.visitor = seen.visitor
    where seen.occurred_at > reached.reached_at
        or (seen.occurred_at = reached.reached_at and not steps.is_seen_before)
    group by steps.path_label, steps.position, seen.is_human, seen.visitor
)
{%- endmacro %}

{% macro spark__steps_reached() -%}
paths as (
    select
        path_label,
        array_sort(collect_list(struct(position, url_id, is_seen_before))) as steps
    from steps
    group by path_label
),

ways as (
    select
        steps.path_label,
        seen.is_human,
        seen.visitor,
        collect_set(struct(seen.url_id, seen.occurred_at)) as hits
    from steps
    inner join seen
        on steps.url_id = seen.url_id
    group by steps.path_label, seen.is_human, seen.visitor
),

walked as (
    select
        ways.path_label,
        ways.is_human,
        ways.visitor,
        aggregate(
            paths.steps,
            cast(array() as array<timestamp>),
            (way, step) -> case
                when size(way) < step.position - 1 then way
                else concat(way, filter(
                    array(array_min(transform(
                        filter(ways.hits, hit -> hit.url_id = step.url_id and (
                            step.position = 1
                            or hit.occurred_at > element_at(way, -1)
                            or (hit.occurred_at = element_at(way, -1) and not step.is_seen_before)
                        )),
                        hit -> hit.occurred_at
                    ))),
                    moment -> moment is not null
                ))
            end
        ) as way
    from ways
    inner join paths
        on ways.path_label = paths.path_label
),

reached as (
    select
        path_label,
        place + 1 as position,
        is_human,
        visitor,
        reached_at
    from walked
    lateral view posexplode(way) as place, reached_at
)
{%- endmacro %}
