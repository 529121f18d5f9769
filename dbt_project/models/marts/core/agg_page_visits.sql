-- A table: which pages matter changes with the declared paths.
{{ config(meta={'retention': 'statistics'}) }}

select distinct
    delivery_id,
    url_id,
    -- Without a cookie the recipient, where known; else nobody knows whose step it was.
    coalesce(
        visitor_id, case when recipient_id <> 0 then 'recipient ' || cast(recipient_id as string) end
    ) as person_key,
    occurred_at,
    attribution = 'session' and delivery_id <> 0 as has_session_delivery,
    is_machine
from {{ ref('fct_tracking_events') }}
where attribution is not null
    and is_in_time_range
    and url_id in (select paths.url_id from {{ ref('int_web_paths__current') }} as paths)
    and (visitor_id is not null or recipient_id <> 0)
