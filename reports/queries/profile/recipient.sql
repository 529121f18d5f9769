-- One recipient.
select
    recipient_id,
    recipient_label,
    email,
    mail_domain,
    language,
    time_zone,
    created_at,
    is_denylisted,
    is_unknown
from core.dim_recipients
where recipient_id = $recipient_id
