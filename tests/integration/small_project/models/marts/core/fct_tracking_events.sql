select md5(log_id) as event_key, delivery_id, url_id, message_id, visitor_id, user_agent, occurred_at, ingested_at
from {{ ref('stg_tracking_logs__lines') }}
