{# The machine rules that look at all clicks of a message together: burst, all_links, honeypot.

   Goes on after the CTEs `clicks` (event_key, message_id, delivery_id, url_id, resolved_url_id, url_type,
   is_honeypot, occurred_at_us, occurred_in_second), `rules` and `delivery_links` of int_tracking_events__judged, and ends with the CTE
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
numbered_clicks as (
    select
        *,
        row_number() over (partition by message_id order by occurred_at_us asc nulls last, event_key asc nulls last) as click_number
    from clicks
),

-- A click that begins a run of min_count clicks within the window.
burst_starts as (
    select
        first_click.message_id,
        first_click.click_number,
        max(first_click.click_number + rules.min_count - 1) as last_click_number
    from numbered_clicks as first_click
    inner join rules
        on rules.kind = 'burst_events'
    inner join numbered_clicks as last_click
        on first_click.message_id = last_click.message_id
            and first_click.click_number + rules.min_count - 1 = last_click.click_number
    where last_click.occurred_at_us - first_click.occurred_at_us <= rules.window_seconds * 1000000
    group by first_click.message_id, first_click.click_number
),

-- Runs of one message have the same length, so the last one begun is the one that reaches furthest.
reached as (
    select
        numbered_clicks.event_key,
        numbered_clicks.click_number,
        max(burst_starts.last_click_number) over (
            partition by numbered_clicks.message_id
            order by numbered_clicks.click_number asc nulls last
            rows between unbounded preceding and current row
        ) as burst_ends_at
    from numbered_clicks
    left join burst_starts
        on numbered_clicks.message_id = burst_starts.message_id
            and numbered_clicks.click_number = burst_starts.click_number
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
    inner join delivery_links
        on clicks.delivery_id = delivery_links.delivery_id
    inner join rules
        on rules.kind = 'every_link'
            and delivery_links.link_count >= rules.min_count
    where clicks.url_type = 1
        and not clicks.is_honeypot
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
        case when clicks.url_type = 1 and not clicks.is_honeypot then clicks.resolved_url_id end as link
    from clicks
    inner join thorough_messages as thorough
        on clicks.message_id = thorough.message_id
            and clicks.delivery_id = thorough.delivery_id
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

{# Clicks around one on a link that no person sees. #}
{% macro honeypot_clicks() -%}
honeypot_clicks as (
    select distinct clicks.event_key
    from clicks
    inner join rules
        on rules.kind = 'link_category'
    inner join clicks as traps
        on clicks.message_id = traps.message_id
            and abs(clicks.occurred_at_us - traps.occurred_at_us) <= rules.window_seconds * 1000000
    where traps.is_honeypot
)
{%- endmacro %}
