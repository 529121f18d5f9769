-- A plain table: a visitor's way through the pages belongs to no one delivery.
with recursive

steps as (
    select
        path_label,
        step_number,
        url_id,
        row_number() over (partition by path_label order by step_number asc nulls last) as position,
        count(*) over (partition by path_label) as step_count,
        min(coalesce(url_id, -1)) over (partition by path_label)
        <> max(coalesce(url_id, -1)) over (partition by path_label) as has_other_pages,
        -- Seen a second time, later: one visit is not two steps.
        row_number() over (partition by path_label, url_id order by step_number asc nulls last) > 1
            as is_seen_before,
        -- Of the first step that names one.
        first_value(traffic_source) over (
            partition by path_label
            order by case when traffic_source is null then 1 else 0 end asc, step_number asc nulls last
        ) as traffic_source
    from {{ ref('int_web_paths__current') }}
),

tracked_urls as (
    select
        url_id,
        label
    from {{ ref('dim_tracked_urls') }}
    where delivery_id = 0
),

salt as (
    select max(salt) as salt from {{ ref('stg_landed__salt') }}
),

hits as (
    select
        visits.url_id,
        {{ person_key('visits.person_key', 'salt.salt') }} as visitor,
        visits.occurred_at,
        visits.has_session_delivery,
        visits.is_machine
    from {{ ref('agg_page_visits') }} as visits
    cross join salt
    where visits.url_id in (select steps.url_id from steps)
),

-- Once as the reference counts, once without machines.
seen as (
    select
        hits.*,
        forms.is_human
    from hits
    cross join (values (false), (true)) as forms (is_human) -- noqa: AL05
    where not (forms.is_human and hits.is_machine)
),

{{ steps_reached() }},

-- How they came to the first step, and whether they saw any other page of the path.
visitors as (
    select
        reached.path_label,
        reached.is_human,
        reached.visitor,
        bool_or(seen.has_session_delivery and seen.occurred_at = reached.reached_at and steps.position = 1)
            as has_session_delivery,
        bool_and(seen.url_id = first_steps.url_id) as has_only_first_page
    from reached
    inner join steps as first_steps
        on reached.path_label = first_steps.path_label
            and first_steps.position = 1
    inner join steps
        on reached.path_label = steps.path_label
    inner join seen
        on steps.url_id = seen.url_id
            and reached.is_human = seen.is_human
            and reached.visitor = seen.visitor
    where reached.position = 1
    group by reached.path_label, reached.is_human, reached.visitor
),

counted as (
    select
        reached.path_label,
        reached.position,
        reached.is_human,
        cast(count(*) as bigint) as visitor_count,
        cast(count(*) filter (where visitors.has_session_delivery) as bigint) as delivery_visitor_count,
        cast(count(*) filter (where visitors.has_only_first_page) as bigint) as first_page_visitor_count
    from reached
    inner join visitors
        on reached.path_label = visitors.path_label
            and reached.is_human = visitors.is_human
            and reached.visitor = visitors.visitor
    group by reached.path_label, reached.position, reached.is_human
),

-- Every step, once for each form, beside the first, the next and the last of its path.
laid_out as (
    select
        steps.path_label,
        steps.step_number,
        steps.position,
        steps.step_count,
        steps.url_id,
        steps.traffic_source,
        forms.is_human,
        coalesce(counted.visitor_count, 0) as visitor_count,
        coalesce(counted.delivery_visitor_count, 0) as delivery_visitor_count,
        coalesce(counted.visitor_count - counted.delivery_visitor_count, 0) as other_visitor_count,
        coalesce(first_steps.visitor_count, 0) as entered_visitor_count,
        -- Nobody can see another page where there is none.
        case when steps.has_other_pages
                then coalesce(first_steps.first_page_visitor_count, 0)
        end as bounced_visitor_count,
        coalesce(last_steps.visitor_count, 0) as converted_visitor_count,
        case when steps.position < steps.step_count
                then coalesce(counted.visitor_count, 0) - coalesce(next_steps.visitor_count, 0)
        end as lost_visitor_count
    from steps
    cross join (values (false), (true)) as forms (is_human) -- noqa: AL05
    left join counted
        on steps.path_label = counted.path_label
            and steps.position = counted.position
            and forms.is_human = counted.is_human
    left join counted as first_steps
        on steps.path_label = first_steps.path_label
            and first_steps.position = 1
            and forms.is_human = first_steps.is_human
    left join counted as next_steps
        on steps.path_label = next_steps.path_label
            and steps.position + 1 = next_steps.position
            and forms.is_human = next_steps.is_human
    left join counted as last_steps
        on steps.path_label = last_steps.path_label
            and steps.step_count = last_steps.position
            and forms.is_human = last_steps.is_human
),

measured as (
    select
        *,
        case when traffic_source is null then 0 else other_visitor_count end as path_source_visitor_count,
        case when traffic_source is null then other_visitor_count else 0 end as no_source_visitor_count,
        {{ ratio('lost_visitor_count', 'visitor_count') }} as lost_visitor_rate,
        {{ ratio('converted_visitor_count', 'entered_visitor_count') }} as conversion_rate,
        {{ ratio('bounced_visitor_count', 'entered_visitor_count') }} as bounce_rate
    from laid_out
)

select
    measured.path_label,
    measured.step_number,
    measured.position,
    measured.url_id,
    tracked_urls.label,
    measured.traffic_source,
    measured.visitor_count as path_visitor_count,
    measured.delivery_visitor_count,
    measured.path_source_visitor_count,
    measured.no_source_visitor_count,
    measured.lost_visitor_count,
    measured.lost_visitor_rate,
    measured.entered_visitor_count,
    measured.converted_visitor_count,
    measured.bounced_visitor_count,
    measured.conversion_rate,
    measured.bounce_rate,
    human.visitor_count as human_path_visitor_count,
    human.delivery_visitor_count as human_delivery_visitor_count,
    human.path_source_visitor_count as human_path_source_visitor_count,
    human.no_source_visitor_count as human_no_source_visitor_count,
    human.lost_visitor_count as human_lost_visitor_count,
    human.lost_visitor_rate as human_lost_visitor_rate,
    human.entered_visitor_count as human_entered_visitor_count,
    human.converted_visitor_count as human_converted_visitor_count,
    human.bounced_visitor_count as human_bounced_visitor_count,
    human.conversion_rate as human_conversion_rate,
    human.bounce_rate as human_bounce_rate
from measured
inner join measured as human
    on measured.path_label = human.path_label
        and measured.position = human.position
        and human.is_human
left join tracked_urls
    on measured.url_id = tracked_urls.url_id
where not measured.is_human
