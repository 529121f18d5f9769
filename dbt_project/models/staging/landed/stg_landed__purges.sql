select
    delivery_id,
    kind,
    purged_at,
    kept_days,
    expired_at,
    event_count,
    first_event_at,
    last_event_at
from {{ source('landed', 'ledger_purges') }}
