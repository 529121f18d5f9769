{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
    )
}}

with

deliveries as (
    select
        delivery_id,
        delivery_label,
        sent_at
    from {{ ref('dim_deliveries') }}
    where {{ in_scope() }}
),

domains as (
    select * from {{ ref('rpt_tracking_indicators_by_domain') }}
    where {{ in_scope() }}
),

clicks as (
    select
        delivery_id,
        person_key,
        has_human_click
    from {{ ref('agg_person_clicks') }}
    where {{ in_scope() }}
),

-- A message is one domain's, so that whatever is counted of messages and events adds up over domains.
sums as (
    select
        {% for name in tracking_sums() -%}
        {{ summed(name) }} as {{ name }},
        {% endfor -%}
        delivery_id
    from domains
    group by delivery_id
),

-- Not so persons: who clicks in mails to two domains is one.
persons as (
    select
        delivery_id,
        person_key,
        bool_or(has_human_click) as has_human_click
    from clicks
    group by delivery_id, person_key
),

person_counts as (
    select
        delivery_id,
        cast(count(*) as bigint) as person_click_count,
        cast(count(*) filter (where has_human_click) as bigint) as human_person_click_count
    from persons
    group by delivery_id
),

counts as (
    select
        deliveries.delivery_id,
        deliveries.delivery_label,
        deliveries.sent_at,
        {% for name in tracking_sums() -%}
        coalesce(sums.{{ name }}, 0) as {{ name }},
        {% endfor -%}
        coalesce(person_counts.person_click_count, 0) as person_click_count,
        coalesce(person_counts.human_person_click_count, 0) as human_person_click_count
    from deliveries
    left join sums
        on deliveries.delivery_id = sums.delivery_id
    left join person_counts
        on deliveries.delivery_id = person_counts.delivery_id
),

{{ tracking_indicators(['delivery_id', 'delivery_label', 'sent_at']) }}
