-- The HTML that the shares are drawn on: untrusted.
select html_content
from core.dim_delivery_contents
where delivery_id = $delivery_id
