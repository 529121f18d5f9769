select
    source,
    source_file,
    problem,
    since_at
from {{ source('landed', 'ledger_problems') }}
