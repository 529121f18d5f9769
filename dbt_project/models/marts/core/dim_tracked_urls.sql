with

declared as (
    select
        delivery_id,
        url_id,
        label,
        source_url,
        category,
        url_type,
        link_position,
        tracking_mode
    from {{ ref('int_tracked_urls__current') }}
),

events as (
    select
        delivery_id,
        url_id
    from {{ ref('fct_tracking_events') }}
),

members as (
    select
        delivery_id,
        url_id
    from declared
    union
    select
        delivery_id,
        url_id
    from events
)

select
    members.delivery_id,
    members.url_id,
    case
        when members.url_id = 1 then 'Open'
        when own_urls.url_id is not null then own_urls.label
        else shared_urls.label
    end as label,
    case
        when members.url_id = 1 then null
        when own_urls.url_id is not null then own_urls.source_url
        else shared_urls.source_url
    end as source_url,
    case
        when members.url_id = 1 then null
        when own_urls.url_id is not null then own_urls.category
        else shared_urls.category
    end as category,
    case
        when members.url_id = 1 then 2
        else coalesce(own_urls.url_type, shared_urls.url_type)
    end as url_type,
    case
        when members.url_id = 1 then null
        when own_urls.url_id is not null then own_urls.link_position
        else shared_urls.link_position
    end as link_position,
    case
        when members.url_id = 1 then null
        when own_urls.url_id is not null then own_urls.tracking_mode
        else shared_urls.tracking_mode
    end as tracking_mode,
    members.url_id <> 1 and own_urls.url_id is null and shared_urls.url_id is not null as is_shared,
    members.url_id <> 1 and own_urls.url_id is null and shared_urls.url_id is null as is_unknown
from members
left join declared as own_urls
    on members.delivery_id = own_urls.delivery_id
        and members.url_id = own_urls.url_id
left join declared as shared_urls
    on members.url_id = shared_urls.url_id
        and shared_urls.delivery_id = 0
