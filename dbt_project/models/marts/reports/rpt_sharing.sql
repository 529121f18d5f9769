-- A table: what somebody opens can belong to another delivery than the one logged.
with

indicators as (
    select * from {{ ref('rpt_tracking_indicators') }}
),

networks as (
    {% for network in networks() -%}
    select
        delivery_id,
        to_deliver_count,
        '{{ network }}' as network,
        {{ network }}_share_count as share_count,
        human_{{ network }}_share_count as human_share_count,
        share_count as total_share_count,
        human_share_count as human_total_share_count
    from indicators
    {{ 'union all' if not loop.last }}
    {% endfor -%}
),

shared_opens as (
    select * from {{ ref('agg_shared_opens') }}
),

-- A delivery that is not known was not shared: an id that was mangled loses no open.
opens as (
    select
        coalesce(deliveries.delivery_id, shared_opens.delivery_id) as delivery_id,
        shared_opens.network,
        cast(sum(shared_opens.shared_open_count) as bigint) as shared_open_count,
        cast(sum(shared_opens.human_shared_open_count) as bigint) as human_shared_open_count
    from shared_opens
    left join indicators as deliveries
        on shared_opens.shared_delivery_id = deliveries.delivery_id
            and shared_opens.shared_delivery_id <> 0
    group by coalesce(deliveries.delivery_id, shared_opens.delivery_id), shared_opens.network
)

select
    networks.delivery_id,
    networks.network,
    networks.share_count,
    networks.human_share_count,
    {{ ratio('networks.share_count', 'networks.total_share_count') }} as share_of_shares,
    {{ ratio('networks.human_share_count', 'networks.human_total_share_count') }} as human_share_of_shares,
    {{ ratio('networks.share_count', 'networks.to_deliver_count') }} as share_rate,
    {{ ratio('networks.human_share_count', 'networks.to_deliver_count') }} as human_share_rate,
    coalesce(opens.shared_open_count, 0) as shared_open_count,
    coalesce(opens.human_shared_open_count, 0) as human_shared_open_count
from networks
left join opens
    on networks.delivery_id = opens.delivery_id
        and networks.network = opens.network
