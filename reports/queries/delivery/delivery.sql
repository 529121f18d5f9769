-- What a delivery is, and how its sending stands.
select
    delivery.delivery_id,
    nullif(trim(delivery.delivery_label), '') as delivery_label,
    delivery.internal_name,
    delivery.campaign_label,
    delivery.channel,
    delivery.typology,
    delivery.is_proof,
    delivery.is_unknown,
    delivery.sent_at,
    dashboard.sending_progress,
    dashboard.last_event_at,
    dashboard.last_ingested_at
from core.dim_deliveries as delivery
left join reports.delivery_dashboard as dashboard
    on delivery.delivery_id = dashboard.delivery_id
where delivery.delivery_id = $delivery_id
