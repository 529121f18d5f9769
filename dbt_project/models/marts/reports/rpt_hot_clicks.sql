{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
    )
}}

with

contents as (
    select
        delivery_id,
        md5(html_content) as html_digest
    from {{ ref('int_deliveries__current') }}
    where {{ in_scope() }}
        and html_content is not null
),

parsed_links as (
    select * from {{ ref('int_content_links__parsed') }}
    where {{ in_scope() }}
),

clicks as (
    select
        delivery_id,
        url_id,
        count(*) as click_count,
        count(*) filter (where not is_machine) as human_click_count
    from {{ ref('fct_tracking_events') }}
    where {{ in_scope() }}
        and url_id <> 1
    group by delivery_id, url_id
),

own_urls as (
    select
        urls.delivery_id,
        urls.url_id,
        nullif({{ trimmed('urls.label') }}, '') as label,
        urls.source_url,
        urls.category,
        urls.url_type,
        urls.link_position as declared_position,
        {{ is_web_hit() }} as is_page
    from {{ ref('dim_tracked_urls') }} as urls
    left join clicks
        on urls.delivery_id = clicks.delivery_id
            and urls.url_id = clicks.url_id
    where {{ in_scope('urls.delivery_id') }}
        and urls.url_id <> 1
        and ({{ stands_unclicked('urls.') }} or clicks.click_count > 0)
),

-- Declared for every delivery: a link of this one only where its content holds it.
shared_urls as (
    select
        url_id,
        nullif({{ trimmed('label') }}, '') as label,
        source_url,
        category,
        url_type,
        link_position as declared_position,
        {{ is_web_hit() }} as is_page
    from {{ ref('dim_tracked_urls') }}
    where delivery_id = 0
        and url_id <> 1
        and not is_unknown
        and not {{ is_web_hit() }}
),

known_urls as (
    select
        *,
        true as is_own
    from own_urls
    union all
    select
        contents.delivery_id,
        shared_urls.*,
        false as is_own
    from contents
    cross join shared_urls
    left join own_urls
        on contents.delivery_id = own_urls.delivery_id
            and shared_urls.url_id = own_urls.url_id
    where own_urls.url_id is null
),

-- The links of the content as it is now. Ampersands may be escaped where the addresses were exported.
places as (
    select
        parsed_links.delivery_id,
        parsed_links.link_position,
        {{ trimmed("replace(parsed_links.href, '&amp;', '&')") }} as address,
        case
            when parsed_links.redirect_delivery_id is null
                or parsed_links.redirect_delivery_id = parsed_links.delivery_id
                then parsed_links.redirect_url_id
        end as named_url_id
    from parsed_links
    inner join contents
        on parsed_links.delivery_id = contents.delivery_id
            and parsed_links.html_digest = contents.html_digest
),

-- Content as it was sent: the redirection's address names the URL. One URL has one position, its first.
named_places as (
    select
        delivery_id,
        named_url_id as url_id,
        min(link_position) as link_position
    from places
    where named_url_id <> 1
    group by delivery_id, named_url_id
),

-- Content as it was written: the address is the URL's.
open_places as (
    select
        delivery_id,
        link_position,
        address,
        {{ url_template('address') }} as template
    from places
    where named_url_id is null
),

open_urls as (
    select
        known_urls.delivery_id,
        known_urls.url_id,
        known_urls.declared_position,
        {{ trimmed("replace(known_urls.source_url, '&amp;', '&')") }} as address,
        {{ url_template(trimmed("replace(known_urls.source_url, '&amp;', '&')")) }} as template
    from known_urls
    left join named_places
        on known_urls.delivery_id = named_places.delivery_id
            and known_urls.url_id = named_places.url_id
    where named_places.url_id is null
        and known_urls.source_url is not null
        and not known_urls.is_page
),

same_addresses as (
    select
        delivery_id,
        address
    from open_places
    intersect
    select
        delivery_id,
        address
    from open_urls
),

-- Equal as written where there is such a pair; else equal but for how placeholders are spelled.
numbered_places as (
    select
        open_places.delivery_id,
        open_places.link_position,
        coalesce(same_addresses.address, open_places.template) as link_key,
        row_number() over (
            partition by open_places.delivery_id, coalesce(same_addresses.address, open_places.template)
            order by open_places.link_position asc nulls last
        ) as turn
    from open_places
    left join same_addresses
        on open_places.delivery_id = same_addresses.delivery_id
            and open_places.address = same_addresses.address
),

-- The URLs of one address take its positions in turn.
numbered_urls as (
    select
        open_urls.delivery_id,
        open_urls.url_id,
        coalesce(same_addresses.address, open_urls.template) as link_key,
        row_number() over (
            partition by open_urls.delivery_id, coalesce(same_addresses.address, open_urls.template)
            order by open_urls.declared_position asc nulls last, open_urls.url_id asc nulls last
        ) as turn
    from open_urls
    left join same_addresses
        on open_urls.delivery_id = same_addresses.delivery_id
            and open_urls.address = same_addresses.address
),

positions as (
    select
        delivery_id,
        url_id,
        link_position
    from named_places
    union all
    select
        numbered_urls.delivery_id,
        numbered_urls.url_id,
        numbered_places.link_position
    from numbered_urls
    inner join numbered_places
        on numbered_urls.delivery_id = numbered_places.delivery_id
            and numbered_urls.link_key = numbered_places.link_key
            and numbered_urls.turn = numbered_places.turn
),

last_positions as (
    select
        delivery_id,
        max(link_position) as link_position
    from places
    group by delivery_id
),

links as (
    select
        coalesce(known_urls.delivery_id, positions.delivery_id) as delivery_id,
        coalesce(known_urls.url_id, positions.url_id) as url_id,
        known_urls.label,
        known_urls.source_url,
        known_urls.category,
        known_urls.url_type,
        known_urls.declared_position,
        positions.link_position
    from known_urls
    -- Nothing fans out: only URLs that the content does not name take a place by their address.
    full outer join positions
        on known_urls.delivery_id = positions.delivery_id
            and known_urls.url_id = positions.url_id
    where (known_urls.is_own or positions.link_position is not null)
        -- Pages with a web-tracking tag are no links of a content.
        and not coalesce(known_urls.is_page, false)
),

counted as (
    select
        links.*,
        cast(coalesce(clicks.click_count, 0) as bigint) as click_count,
        cast(coalesce(clicks.human_click_count, 0) as bigint) as human_click_count,
        sum(clicks.click_count) over (partition by links.delivery_id) as total_click_count,
        sum(clicks.human_click_count) over (partition by links.delivery_id) as human_total_click_count,
        coalesce(last_positions.link_position, 0) as last_position,
        row_number() over (
            partition by links.delivery_id, links.link_position is null
            order by links.declared_position asc nulls last, links.url_id asc nulls last
        ) as number_among_unplaced
    from links
    left join clicks
        on links.delivery_id = clicks.delivery_id
            and links.url_id = clicks.url_id
    left join last_positions
        on links.delivery_id = last_positions.delivery_id
    -- Links that serve every delivery are configured for delivery 0: unclicked there, they are no news of it.
    where links.delivery_id <> 0 or clicks.click_count > 0
)

select
    delivery_id,
    url_id,
    cast(coalesce(link_position, last_position + number_among_unplaced) as bigint) as link_position,
    label,
    source_url,
    category,
    url_type,
    click_count,
    human_click_count,
    {{ ratio('click_count', 'total_click_count') }} as click_share,
    {{ ratio('human_click_count', 'human_total_click_count') }} as human_click_share,
    link_position is not null as is_in_content,
    link_position is not null and coalesce(url_type, 1) not in (3, 6, 11) as is_drawn
from counted
