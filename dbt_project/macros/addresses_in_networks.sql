{# Which IP addresses lie in a range of a named network: the CTE `addresses_in_networks`, and one before it.

   addresses: a relation (ip_address, rule, network). networks: a relation (network, first_address, last_address) whose ranges of one
   network do not overlap. A walk in the order of the addresses instead of a join on inequality, which an engine
   may do by comparing everything with everything. #}
{% macro addresses_in_networks(addresses, networks) -%}
address_walk as (
    select
        ip_address,
        rule,
        network,
        address,
        -- Ranges begin in rising order, so the greatest seen is the last begun.
        max(address_range) over (
            partition by network
            -- What is no address comes last and lies in nothing.
            order by address asc nulls last, is_address asc nulls last
            rows between unbounded preceding and current row
        ) as last_range
    from (
        select
            ip_address,
            rule,
            network,
            {{ ip_address_key('ip_address') }} as address,
            cast(null as string) as address_range,
            1 as is_address
        from {{ addresses }}
        union all
        select
            null as ip_address,
            null as rule,
            network,
            {{ ip_address_key('first_address') }} as address,
            {{ ip_address_key('first_address') }} || '-' || {{ ip_address_key('last_address') }} as address_range,
            0 as is_address
        from {{ networks }}
        where network in (select network from {{ addresses }})
    ) as steps
),

addresses_in_networks as (
    select
        ip_address,
        rule,
        -- One of them, where two networks of a rule hold it: an address must not count twice.
        min(network) as network
    from address_walk
    where ip_address is not null
        and address <= split_part(last_range, '-', 2)
    group by ip_address, rule
)
{%- endmacro %}
