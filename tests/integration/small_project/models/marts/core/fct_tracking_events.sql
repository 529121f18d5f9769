select md5(concat_ws('x', server, pointer)) as event_key, delivery_id, url_id, message_id, visitor_id, user_agent, occurred_at, ingested_at
from {{ ref('stg_tracking_logs__lines') }}
