{# The tracking indicators of any grain, from what was counted: per delivery, per delivery and recipient domain.

   Goes on after the CTE `counts` (the columns given, those of tracking_sums, and persons) and ends the query. One place, so that a
   formula lives once. #}
{% macro tracking_indicators(columns) -%}
estimated as (
    select
        *,
        {% for form in ['', 'human_'] -%}
        {{ estimated(form ~ 'recipient_open_count') }} as {{ form }}estimated_recipient_open_count,
        {{ estimated(form ~ 'total_open_count') }} as {{ form }}estimated_total_open_count,
        {% endfor -%}
        recipient_open_count - human_recipient_open_count as machine_only_open_count,
        -- Of delivered messages alone: opens of seeds and of failed ones are no share of them.
        success_count - delivered_recipient_open_count + human_delivered_recipient_open_count as measurable_count
    from counts
)

select
    {{ columns | join(', ') }},
    to_deliver_count,
    text_to_deliver_count,
    success_count,
    error_count,
    recipient_open_count,
    human_recipient_open_count,
    total_open_count,
    human_total_open_count,
    delivered_recipient_open_count,
    human_delivered_recipient_open_count,
    delivered_total_open_count,
    human_delivered_total_open_count,
    estimated_recipient_open_count,
    human_estimated_recipient_open_count,
    estimated_total_open_count,
    human_estimated_total_open_count,
    machine_only_open_count,
    {{ projected('human_delivered_recipient_open_count') }} as projected_recipient_open_count,
    {{ projected('human_delivered_total_open_count') }} as projected_total_open_count,
    {{ ratio(projected('human_delivered_recipient_open_count'), 'success_count') }} as projected_open_rate,
    {{ ratio('human_delivered_recipient_open_count', 'measurable_count') }} as measurable_open_rate,
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
    {{ share_indicators() }},
    {{ ratio('recipient_click_count', 'recipient_open_count') }} as raw_reactivity,
    {{ ratio('human_recipient_click_count', 'human_recipient_open_count') }} as human_raw_reactivity,
    {{ ratio('recipient_click_count', 'estimated_recipient_open_count') }} as estimated_reactivity,
    {{ ratio('human_recipient_click_count', 'human_estimated_recipient_open_count') }} as human_estimated_reactivity,
    {{ web_indicators() }}
from estimated
{%- endmacro %}

{# The shares, in the order of their columns. #}
{% macro share_indicators() -%}
    share_count,
    human_share_count
    {%- for network in networks() %},
    {{ network }}_share_count,
    human_{{ network }}_share_count
    {%- endfor %}
{%- endmacro %}

{# How shares are counted. #}
{% macro share_counts() -%}
    cast(count(*) filter (where network is not null) as bigint) as share_count,
        cast(count(*) filter (where network is not null and not is_machine) as bigint) as human_share_count
        {%- for network in networks() %},
        cast(count(*) filter (where network = '{{ network }}') as bigint) as {{ network }}_share_count,
        cast(count(*) filter (where network = '{{ network }}' and not is_machine) as bigint)
            as human_{{ network }}_share_count
        {%- endfor %}
{%- endmacro %}

{# Pages and purchases, with what they are on average. #}
{% macro web_indicators() -%}
    {%- for form in ['', 'human_'] -%}
    {{ form }}page_visit_count,
    {{ form }}transaction_count,
    cast({{ form }}transaction_amount as decimal(38, 4)) as {{ form }}transaction_amount,
    {{ form }}article_count,
    {{ ratio(form ~ 'transaction_amount', form ~ 'transaction_count') }} as {{ form }}average_transaction_amount,
    {{ ratio(form ~ 'article_count', form ~ 'transaction_count') }} as {{ form }}average_articles_per_transaction,
    {{ ratio(form ~ 'transaction_amount', 'to_deliver_count') }} as {{ form }}average_amount_per_message{{ ',' if not loop.last }}
    {% endfor -%}
{%- endmacro %}

{# How pages and purchases are counted. What is bought for an amount that cannot be read is still bought. #}
{% macro web_counts(form, condition='') -%}
    cast(count(*) filter (where url_type in (4, 5) {{ condition }}) as bigint) as {{ form }}page_visit_count,
        cast(count(*) filter (where url_type = 5 {{ condition }}) as bigint) as {{ form }}transaction_count,
        sum(amount) filter (where url_type = 5 {{ condition }}) as {{ form }}transaction_amount,
        cast(sum(article_count) filter (where url_type = 5 {{ condition }}) as bigint) as {{ form }}article_count
{%- endmacro %}

{# What adds up over sets of messages that have none in common; persons do not. #}
{% macro tracking_sums() -%}
    {%- set names = ['to_deliver_count', 'text_to_deliver_count', 'success_count', 'error_count', 'complaint_count'] -%}
    {%- for name in [
        'recipient_open_count', 'recipient_click_count', 'total_open_count', 'total_click_count', 'opt_out_click_count',
        'delivered_recipient_open_count', 'delivered_total_open_count', 'mirror_page_click_count',
    ] -%}
        {%- do names.extend([name, 'human_' ~ name]) -%}
    {%- endfor -%}
    {{ return(names + event_sums()) }}
{%- endmacro %}

{# Those of them that add up over events, whatever their message: pages, purchases, shares. #}
{% macro event_sums() -%}
    {%- set counted = ['page_visit_count', 'transaction_count', 'transaction_amount', 'article_count', 'share_count'] -%}
    {%- for network in networks() -%}
        {%- do counted.append(network ~ '_share_count') -%}
    {%- endfor -%}
    {%- set names = [] -%}
    {%- for name in counted -%}
        {%- do names.extend([name, 'human_' ~ name]) -%}
    {%- endfor -%}
    {{ return(names) }}
{%- endmacro %}

{# The sum of a column that tracking_sums names. #}
{% macro summed(name) -%}
    cast(sum({{ name }}) as {{ 'decimal(38, 4)' if name.endswith('amount') else 'bigint' }})
{%- endmacro %}

{# A count of opens as it would be if messages in text format could show theirs. #}
{% macro estimated(count) -%}
    {{ extrapolate(count, 'to_deliver_count', '(to_deliver_count - text_to_deliver_count)') }}
{%- endmacro %}

{# A count of human opens of delivered messages as it would be if those that only machines opened were read like the
   others, of which it can be told. NULL where there is none of these. #}
{% macro projected(count) -%}
    case when measurable_count > 0 then {{ extrapolate(count, 'success_count', 'measurable_count') }} end
{%- endmacro %}
