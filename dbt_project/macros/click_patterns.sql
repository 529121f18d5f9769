{# The machine rules that look at all clicks of a message together: burst, all_links, honeypot.

   Goes on after the CTEs `clicks` (event_key, message_id, delivery_id, url_id, resolved_url_id, url_type,
   is_honeypot, occurred_at_us, occurred_in_second), `rules`, `content_links` and `delivery_links` of
   int_tracking_events__judged, and ends with the CTE
   `patterns`: one row per click that some pattern holds for, with the rule that wins.
   A rule of this kind that joins gets its CTEs here and a branch of pattern_hits. #}
{% macro click_patterns() -%}
{{ burst_clicks() }},

{{ all_links_clicks() }},

{{ honeypot_clicks() }},

pattern_hits as (
    select
        event_key,
        'burst' as kind
    from burst_clicks
    union all
    select
        event_key,
        'every_link' as kind
    from all_links_clicks
    union all
    select
        event_key,
        'link_category' as kind
    from honeypot_clicks
),

-- A burst shows in either of two ways, which are one rule.
pattern_rules as (
    select
        case when kind like 'burst%' then 'burst' else kind end as kind,
        min_by(rule, priority) as rule,
        min_by(confidence, priority) filter (where confidence is not null) as confidence,
        min(priority) as priority
    from rules
    group by case when kind like 'burst%' then 'burst' else kind end
),

patterns as (
    select
        pattern_hits.event_key,
        min_by(pattern_rules.rule, pattern_rules.priority) as rule,
        min_by(pattern_rules.confidence, pattern_rules.priority) filter (where pattern_rules.confidence is not null) as confidence,
        min(pattern_rules.priority) as priority
    from pattern_hits
    inner join pattern_rules
        on pattern_hits.kind = pattern_rules.kind
    group by pattern_hits.event_key
)
{%- endmacro %}

{# Clicks that come faster than a person's: min_count within the window, or different links in one second. #}
{% macro burst_clicks() -%}
burst_lengths as (
    select distinct
        min_count,
        window_seconds * 1000000 as window_us
    from rules
    where kind = 'burst_events'
),

-- With what the rule says on every row: joined later, an engine may first pair every click of a message with every other.
numbered_clicks as (
    select
        clicks.event_key,
        clicks.message_id,
        clicks.occurred_at_us,
        burst_lengths.min_count,
        burst_lengths.window_us,
        row_number() over (
            partition by clicks.message_id, burst_lengths.min_count, burst_lengths.window_us
            order by clicks.occurred_at_us asc nulls last, clicks.event_key asc nulls last
        ) as click_number
    from clicks
    cross join burst_lengths
),

-- A click begins a run where the one that is min_count - 1 further is within the window. Runs of one rule have the same
-- length, so the last one begun is the one that reaches furthest.
reached as (
    select
        first_click.event_key,
        first_click.click_number,
        max(
            case
                when last_click.occurred_at_us - first_click.occurred_at_us <= first_click.window_us
                    then last_click.click_number
            end
        ) over (
            partition by first_click.message_id, first_click.min_count, first_click.window_us
            order by first_click.click_number asc nulls last
            rows between unbounded preceding and current row
        ) as burst_ends_at
    from numbered_clicks as first_click
    left join numbered_clicks as last_click
        on first_click.message_id = last_click.message_id
            and first_click.min_count = last_click.min_count
            and first_click.window_us = last_click.window_us
            and first_click.click_number + first_click.min_count - 1 = last_click.click_number
),

crowded_seconds as (
    select
        clicks.message_id,
        clicks.occurred_in_second
    from clicks
    inner join rules
        on rules.kind = 'burst_links'
    group by clicks.message_id, clicks.occurred_in_second
    having count(distinct clicks.url_id) >= min(rules.min_count)
),

burst_clicks as (
    select event_key from reached
    where click_number <= burst_ends_at
    union
    select clicks.event_key
    from clicks
    inner join crowded_seconds
        on clicks.message_id = crowded_seconds.message_id
            and clicks.occurred_in_second = crowded_seconds.occurred_in_second
)
{%- endmacro %}

{# Clicks of any kind in a window in which every link of the content was followed. Later ones are a person's. #}
{% macro all_links_clicks() -%}
-- Whoever did not follow them all at any time cannot have done so within the window.
thorough_messages as (
    select
        clicks.message_id,
        clicks.delivery_id,
        max(delivery_links.link_count) as link_count,
        max(rules.window_seconds) * 1000000 as window_us
    from clicks
    inner join content_links
        on clicks.delivery_id = content_links.delivery_id
            and clicks.resolved_url_id = content_links.url_id
    inner join delivery_links
        on clicks.delivery_id = delivery_links.delivery_id
    inner join rules
        on rules.kind = 'every_link'
            and delivery_links.link_count >= rules.min_count
    group by clicks.message_id, clicks.delivery_id
    having count(distinct clicks.resolved_url_id) >= max(delivery_links.link_count)
),

thorough_clicks as (
    select
        clicks.event_key,
        clicks.message_id,
        clicks.delivery_id,
        clicks.occurred_at_us,
        thorough.link_count,
        thorough.window_us,
        content_links.url_id as link
    from clicks
    inner join thorough_messages as thorough
        on clicks.message_id = thorough.message_id
            and clicks.delivery_id = thorough.delivery_id
    left join content_links
        on clicks.delivery_id = content_links.delivery_id
            and clicks.resolved_url_id = content_links.url_id
),

{{ watched_links() }}
{%- endmacro %}

{# Which of thorough_clicks lie in such a window: the CTE all_links_clicks. Windows end at a moment at which every link was
   followed within window_us before. DuckDB slides over the clicks; Spark's frames take no width from a column and count
   nothing distinct, so there a message's clicks are joined with each other. #}
{% macro watched_links() -%}
    {{ return(adapter.dispatch('watched_links')()) }}
{%- endmacro %}

{% macro default__watched_links() -%}
-- Whether, at the moment of this click, every link was followed within the window before it.
completions as (
    select
        event_key,
        message_id,
        delivery_id,
        occurred_at_us,
        window_us,
        count(distinct link) over (
            partition by message_id, delivery_id
            order by occurred_at_us asc nulls last
            range between window_us preceding and current row
        ) >= link_count as is_complete
    from thorough_clicks
),

all_links_clicks as (
    select event_key
    from (
        select
            event_key,
            max(cast(is_complete as integer)) over (
                partition by message_id, delivery_id
                order by occurred_at_us asc nulls last
                range between current row and window_us following
            ) as is_completed
        from completions
    ) as watched
    where is_completed = 1
)
{%- endmacro %}

{% macro spark__watched_links() -%}
complete_moments as (
    select
        ends.message_id,
        ends.delivery_id,
        ends.occurred_at_us,
        ends.window_us
    from (select distinct message_id, delivery_id, occurred_at_us, link_count, window_us from thorough_clicks) as ends
    inner join thorough_clicks as followed
        on ends.message_id = followed.message_id
            and ends.delivery_id = followed.delivery_id
            and followed.occurred_at_us between ends.occurred_at_us - ends.window_us and ends.occurred_at_us
    group by ends.message_id, ends.delivery_id, ends.occurred_at_us, ends.link_count, ends.window_us
    having count(distinct followed.link) >= ends.link_count
),

all_links_clicks as (
    select distinct thorough_clicks.event_key
    from thorough_clicks
    inner join complete_moments
        on thorough_clicks.message_id = complete_moments.message_id
            and thorough_clicks.delivery_id = complete_moments.delivery_id
            and complete_moments.occurred_at_us
            between thorough_clicks.occurred_at_us and thorough_clicks.occurred_at_us + thorough_clicks.window_us
)
{%- endmacro %}

{# Clicks around one on a link that no person sees: the nearest before and after tell, however many a message has. #}
{% macro honeypot_clicks() -%}
trapped_clicks as (
    select
        event_key,
        occurred_at_us,
        max(case when is_honeypot then occurred_at_us end) over (
            partition by message_id
            order by occurred_at_us asc nulls last
            rows between unbounded preceding and current row
        ) as trap_before_us,
        min(case when is_honeypot then occurred_at_us end) over (
            partition by message_id
            order by occurred_at_us asc nulls last
            rows between current row and unbounded following
        ) as trap_after_us
    from clicks
    where message_id in (select message_id from clicks where is_honeypot)
),

honeypot_clicks as (
    select trapped_clicks.event_key
    from trapped_clicks
    cross join (
        select max(window_seconds) * 1000000 as window_us from rules
        where kind = 'link_category'
    ) as longest
    where trapped_clicks.occurred_at_us - trapped_clicks.trap_before_us <= longest.window_us
        or trapped_clicks.trap_after_us - trapped_clicks.occurred_at_us <= longest.window_us
)
{%- endmacro %}
