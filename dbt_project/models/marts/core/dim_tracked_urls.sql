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

-- A page belongs to no delivery. Tags without a URL have the id that their hits got.
web_tags as (
    select
        coalesce(nullif(url_id, 0), {{ undeclared_tag_url_id('tag_id', 'url_type') }}) as url_id,
        min(tag_id) as tag,
        min_by(coalesce(nullif({{ trimmed('label') }}, ''), tag_id), tag_id) as label,
        min_by(url_type, tag_id) as url_type
    from {{ ref('int_web_tags__current') }}
    where url_type in (4, 5)
    group by coalesce(nullif(url_id, 0), {{ undeclared_tag_url_id('tag_id', 'url_type') }})
),

events as (
    select
        delivery_id,
        url_id,
        url_type,
        tag
    from {{ ref('fct_tracking_events') }}
),

-- What only a provider tells of, or tells of again, is on links too.
esp_events as (
    select
        delivery_id,
        url_id
    from {{ ref('int_esp_events__resolved') }}
    where {{ is_esp_tracking() }}
),

-- Of a purged delivery events are gone, and what counted them stays. Pages of web paths are among them.
counted as (
    select
        delivery_id,
        url_id
    from {{ ref('agg_tracking_5min') }}
),

-- Whatever hit it is taken from: the id is made of the name and the type.
undeclared_tags as (
    select
        events.url_id,
        min({{ tag_name('events.tag') }}) as tag,
        min(events.url_type) as url_type
    from events
    left join web_tags
        on events.url_id = web_tags.url_id
    where events.tag is not null
        and events.url_id = {{ undeclared_tag_url_id(tag_name('events.tag'), 'events.url_type') }}
        and web_tags.url_id is null
    group by events.url_id
),

members as (
    select
        delivery_id,
        url_id
    from declared
    union
    select
        0 as delivery_id,
        url_id
    from web_tags
    union
    select
        delivery_id,
        url_id
    from events
    union
    select
        delivery_id,
        url_id
    from esp_events
    union
    select
        delivery_id,
        url_id
    from counted
)

select
    members.delivery_id,
    members.url_id,
    case
        when members.url_id = 1 then 'Open'
        when members.url_id = {{ provider_unsubscription_url_id() }} then 'Unsubscribed at the provider'
        when own_urls.url_id is not null then own_urls.label
        when shared_urls.url_id is not null then shared_urls.label
        else coalesce(web_tags.label, undeclared_tags.tag)
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
        when members.url_id = {{ provider_unsubscription_url_id() }} then 3
        else coalesce(own_urls.url_type, shared_urls.url_type, web_tags.url_type, undeclared_tags.url_type)
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
    case when members.url_id <> 1 then coalesce(web_tags.tag, undeclared_tags.tag) end as tag,
    members.url_id <> 1
    and own_urls.url_id is null
    and coalesce(shared_urls.url_id, web_tags.url_id) is not null as is_shared,
    members.url_id not in (1, {{ provider_unsubscription_url_id() }})
    and coalesce(own_urls.url_id, shared_urls.url_id, web_tags.url_id) is null as is_unknown
from members
left join declared as own_urls
    on members.delivery_id = own_urls.delivery_id
        and members.url_id = own_urls.url_id
left join declared as shared_urls
    on members.url_id = shared_urls.url_id
        and shared_urls.delivery_id = 0
left join web_tags
    on members.url_id = web_tags.url_id
left join undeclared_tags
    on members.url_id = undeclared_tags.url_id
