select
    person_key,
    refused_at
from {{ source('landed', 'ledger_refusals') }}
