with

salt as (
    select max(salt) as salt from {{ ref('stg_landed__salt') }}
),

clicks as (
    select
        users.clicked_on,
        users.browser_name,
        users.browser_version,
        {{ person_key('users.person_key', 'salt.salt') }} as person_key,
        users.page_count,
        users.human_page_count
    from {{ ref('agg_software_users') }} as users
    cross join salt
),

{{ software_usage('browser_name', 'browser_version') }}
