select
    server,
    first_missing_pointer,
    last_missing_pointer,
    missing_count,
    before_at,
    after_at
from {{ source('landed', 'ledger_gaps') }}
