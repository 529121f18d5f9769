-- Clear names and addresses of recipients; of the identities file.
select
    recipient_id,
    recipient_label,
    email
from core.dim_recipients
where recipient_id in (select unnest($keys::bigint[]))
