{# The tracking indicators, for any grain: per delivery, per delivery and recipient domain.

   Goes on after the CTEs `members` (the key columns, once each, and the attributes), `messages` and `events`
   (the key columns beside those counted here; network is NULL for an event that shares nothing), and ends the query. One place, so that a formula lives once. #}
{% macro tracking_indicators(key, attributes) -%}
{%- set keys = key | join(', ') -%}
message_counts as (
    select
        {{ keys }},
        cast(count(*) filter (where status <> 0) as bigint) as to_deliver_count,
        cast(count(*) filter (where status <> 0 and content_format = 'text') as bigint) as text_count,
        cast(count(*) filter (where {{ is_delivered() }}) as bigint) as success_count,
        cast(count(*) filter (where status = 2) as bigint) as error_count,
        cast(count(*) filter (where status = 2 and failure_reason = 8) as bigint) as complaint_count
    from messages
    group by {{ keys }}
),

event_counts as (
    select
        {{ keys }},
        cast(count(*) filter (where url_id = 1) as bigint) as total_open_count,
        cast(count(*) filter (where url_id = 1 and not is_machine) as bigint) as human_total_open_count,
        cast(count(*) filter (where url_type = 3) as bigint) as opt_out_click_count,
        cast(count(*) filter (where url_type = 3 and not is_machine) as bigint) as human_opt_out_click_count,
        cast(count(*) filter (where url_type = 6) as bigint) as mirror_page_click_count,
        cast(count(*) filter (where url_type = 6 and not is_machine) as bigint)
            as human_mirror_page_click_count,
        cast(count(*) filter (where url_type = 1) as bigint) as total_click_count,
        cast(count(*) filter (where url_type = 1 and not is_machine) as bigint) as human_total_click_count,
        {{ web_counts('') }},
        {{ web_counts('human_', 'and not is_machine') }},
        cast(count(*) filter (where network is not null) as bigint) as share_count,
        cast(count(*) filter (where network is not null and not is_machine) as bigint) as human_share_count
        {%- for network in networks() %},
        cast(count(*) filter (where network = '{{ network }}') as bigint) as {{ network }}_share_count,
        cast(count(*) filter (where network = '{{ network }}' and not is_machine) as bigint)
            as human_{{ network }}_share_count
        {%- endfor %}
    from events
    group by {{ keys }}
),

-- One row per message first: far cheaper than several distinct counts over all events.
active_messages as (
    select
        {{ keys }},
        message_id,
        bool_or(url_type = 1) as has_click,
        bool_or(not is_machine) as has_human_event,
        bool_or(url_type = 1 and not is_machine) as has_human_click
    from events
    where {{ is_message_tracking() }}
        and message_id <> 0
    group by {{ keys }}, message_id
),

recipient_counts as (
    select
        {{ keys }},
        cast(count(*) as bigint) as recipient_open_count,
        cast(count(*) filter (where has_human_event) as bigint) as human_recipient_open_count,
        cast(count(*) filter (where has_click) as bigint) as recipient_click_count,
        cast(count(*) filter (where has_human_click) as bigint) as human_recipient_click_count
    from active_messages
    group by {{ keys }}
),

clicking_visitors as (
    select
        {{ keys }},
        visitor_id,
        bool_or(not is_machine) as has_human_click
    from events
    where url_type = 1
        and visitor_id <> ''
    group by {{ keys }}, visitor_id
),

person_counts as (
    select
        {{ keys }},
        cast(count(*) as bigint) as person_click_count,
        cast(count(*) filter (where has_human_click) as bigint) as human_person_click_count
    from clicking_visitors
    group by {{ keys }}
),

counts as (
    select
        {% for column in key + attributes -%}
        members.{{ column }},
        {% endfor -%}
        coalesce(message_counts.to_deliver_count, 0) as to_deliver_count,
        coalesce(message_counts.to_deliver_count - message_counts.text_count, 0) as html_count,
        coalesce(message_counts.success_count, 0) as success_count,
        coalesce(message_counts.error_count, 0) as error_count,
        coalesce(message_counts.complaint_count, 0) as complaint_count,
        coalesce(recipient_counts.recipient_open_count, 0) as recipient_open_count,
        coalesce(recipient_counts.human_recipient_open_count, 0) as human_recipient_open_count,
        coalesce(event_counts.total_open_count, 0) as total_open_count,
        coalesce(event_counts.human_total_open_count, 0) as human_total_open_count,
        coalesce(event_counts.opt_out_click_count, 0) as opt_out_click_count,
        coalesce(event_counts.human_opt_out_click_count, 0) as human_opt_out_click_count,
        coalesce(event_counts.mirror_page_click_count, 0) as mirror_page_click_count,
        coalesce(event_counts.human_mirror_page_click_count, 0) as human_mirror_page_click_count,
        coalesce(recipient_counts.recipient_click_count, 0) as recipient_click_count,
        coalesce(recipient_counts.human_recipient_click_count, 0) as human_recipient_click_count,
        coalesce(person_counts.person_click_count, 0) as person_click_count,
        coalesce(person_counts.human_person_click_count, 0) as human_person_click_count,
        coalesce(event_counts.total_click_count, 0) as total_click_count,
        coalesce(event_counts.human_total_click_count, 0) as human_total_click_count,
        {% for form in ['', 'human_'] -%}
        coalesce(event_counts.{{ form }}page_visit_count, 0) as {{ form }}page_visit_count,
        coalesce(event_counts.{{ form }}transaction_count, 0) as {{ form }}transaction_count,
        coalesce(event_counts.{{ form }}transaction_amount, 0) as {{ form }}transaction_amount,
        coalesce(event_counts.{{ form }}article_count, 0) as {{ form }}article_count,
        {% endfor -%}
        coalesce(event_counts.share_count, 0) as share_count,
        coalesce(event_counts.human_share_count, 0) as human_share_count
        {%- for network in networks() %},
        coalesce(event_counts.{{ network }}_share_count, 0) as {{ network }}_share_count,
        coalesce(event_counts.human_{{ network }}_share_count, 0) as human_{{ network }}_share_count
        {%- endfor %}
    from members
    {% for counted in ['message_counts', 'event_counts', 'recipient_counts', 'person_counts'] -%}
    left join {{ counted }}
        on {% for column in key %}{{ 'and ' if not loop.first }}members.{{ column }} = {{ counted }}.{{ column }} {% endfor %}
    {% endfor -%}
),

estimated as (
    select
        *,
        {{ extrapolate('recipient_open_count', 'to_deliver_count', 'html_count') }}
            as estimated_recipient_open_count,
        {{ extrapolate('total_open_count', 'to_deliver_count', 'html_count') }} as estimated_total_open_count,
        recipient_open_count - human_recipient_open_count as machine_only_open_count,
        -- Those that a person opened can be told, delivered or not: no rate is above 1.
        case
            when success_count > 0 then greatest(
                success_count - recipient_open_count + human_recipient_open_count, human_recipient_open_count
            )
            else 0
        end as measurable_count
    from counts
)

select
    {{ (key + attributes) | join(', ') }},
    to_deliver_count,
    success_count,
    error_count,
    recipient_open_count,
    human_recipient_open_count,
    total_open_count,
    human_total_open_count,
    estimated_recipient_open_count,
    estimated_total_open_count,
    machine_only_open_count,
    {{ projected('human_recipient_open_count') }} as projected_recipient_open_count,
    {{ projected('human_total_open_count') }} as projected_total_open_count,
    {{ ratio(projected('human_recipient_open_count'), 'success_count') }} as projected_open_rate,
    case when measurable_count > 0 then {{ ratio('human_recipient_open_count', 'measurable_count') }} end
        as measurable_open_rate,
    opt_out_click_count,
    human_opt_out_click_count,
    mirror_page_click_count,
    human_mirror_page_click_count,
    recipient_click_count,
    human_recipient_click_count,
    person_click_count,
    human_person_click_count,
    total_click_count,
    human_total_click_count,
    person_click_count - recipient_click_count as forward_estimate,
    human_person_click_count - human_recipient_click_count as human_forward_estimate,
    complaint_count,
    share_count,
    human_share_count,
    {% for network in networks() -%}
    {{ network }}_share_count,
    human_{{ network }}_share_count,
    {% endfor -%}
    {{ ratio('recipient_click_count', 'recipient_open_count') }} as raw_reactivity,
    {{ ratio('human_recipient_click_count', 'human_recipient_open_count') }} as human_raw_reactivity,
    {{ ratio('recipient_click_count', 'estimated_recipient_open_count') }} as estimated_reactivity,
    {% for form in ['', 'human_'] -%}
    {{ form }}page_visit_count,
    {{ form }}transaction_count,
    cast({{ form }}transaction_amount as decimal(38, 4)) as {{ form }}transaction_amount,
    {{ form }}article_count,
    {{ ratio(form ~ 'transaction_amount', form ~ 'transaction_count') }} as {{ form }}average_transaction_amount,
    {{ ratio(form ~ 'article_count', form ~ 'transaction_count') }} as {{ form }}average_articles_per_transaction,
    {{ ratio(form ~ 'transaction_amount', 'to_deliver_count') }} as {{ form }}average_amount_per_message{{ ',' if not loop.last }}
    {% endfor -%}
from estimated
{%- endmacro %}

{# A count of human opens as it would be if the messages that only machines opened were read like the others: those of
   which it can be told. NULL where there is none of these. #}
{% macro projected(count) -%}
    case when measurable_count > 0 then {{ extrapolate(count, 'success_count', 'measurable_count') }} end
{%- endmacro %}

{# Pages and purchases. What is bought for an amount that cannot be read is still bought. #}
{% macro web_counts(form, condition='') -%}
    cast(count(*) filter (where url_type in (4, 5) {{ condition }}) as bigint) as {{ form }}page_visit_count,
        cast(count(*) filter (where url_type = 5 {{ condition }}) as bigint) as {{ form }}transaction_count,
        sum(amount) filter (where url_type = 5 {{ condition }}) as {{ form }}transaction_amount,
        cast(sum(article_count) filter (where url_type = 5 {{ condition }}) as bigint) as {{ form }}article_count
{%- endmacro %}
