-- Recipients by id or address; $partly: also by a part of the address or name; $known: ids found where clear values are.
select
    recipient_id,
    recipient_label,
    coalesce(email, '•••@' || nullif(mail_domain, '')) as email,
    language,
    created_at
from core.dim_recipients
where recipient_id = try_cast($search as bigint)
    or recipient_id in (select unnest($known::bigint[]))
    -- The length first: to write every address in lower case takes longer than everything else.
    or (strlen(email) = strlen($search) and lower(email) = lower($search))
    or ($partly and (contains(lower(email), lower($search)) or contains(lower(recipient_label), lower($search))))
order by recipient_id
limit 50
