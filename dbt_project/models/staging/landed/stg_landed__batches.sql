select
    batch_id,
    source,
    run_id,
    committed_at,
    accepted_count
from {{ source('landed', 'batches') }}
