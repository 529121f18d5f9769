select * from {{ source('landed', 'tracking_logs') }}
