-- One recipient.
select
    recipient_id,
    recipient_label,
    -- Where addresses are masked, the domain is left.
    coalesce(email, '•••@' || nullif(mail_domain, '')) as email,
    mail_domain,
    language,
    time_zone,
    created_at,
    is_denylisted,
    is_unknown
from core.dim_recipients
where recipient_id = $recipient_id
