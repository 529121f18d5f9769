-- Recipients by address; $partly: also by a part of the address or name. Of the identities file.
select recipient_id
from core.dim_recipients
where
    -- The length first: to write every address in lower case takes longer than everything else.
    (strlen(email) = strlen($search) and lower(email) = lower($search))
    or ($partly and (contains(lower(email), lower($search)) or contains(lower(recipient_label), lower($search))))
order by recipient_id
limit 50
