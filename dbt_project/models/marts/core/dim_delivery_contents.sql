select
    delivery_id,
    html_content
from {{ ref('int_deliveries__current') }}
where html_content is not null
