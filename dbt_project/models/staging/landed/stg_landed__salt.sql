select salt
from {{ source('landed', 'ledger_salt') }}
