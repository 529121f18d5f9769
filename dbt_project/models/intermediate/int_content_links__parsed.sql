{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
        unique_key=['delivery_id', 'html_digest', 'link_position'],
        meta={'touches': 'delivery_id'},
    )
}}

with

arrived as (
    select
        *,
        row_number() over (
            partition by delivery_id, html_digest, link_position
            order by batch_id desc
        ) as age
    from {{ ref('stg_enrichment__content_links') }}
    where {{ has_arrived() }}
)

select
    delivery_id,
    html_digest,
    link_position,
    href,
    link_text,
    redirect_delivery_id,
    redirect_url_id,
    source_file,
    source_line,
    ingested_at,
    batch_id,
    cast({{ current_run() }} as bigint) as changed_in_run
from arrived
where age = 1
