{{
    config(
        materialized='incremental',
        incremental_strategy='replace_scope',
        unique_key='event_key',
        meta={'touches': 'delivery_id', 'logged_key': 'event_key', 'makes_again': true, 'setting': var('web_tracking_mode'), 'part': event_day()},
    )
}}

{%- set mode = web_tracking_mode() -%}
{#- The redirection server cuts what it logs of the query string here: the last value may lack its end. -#}
{%- set cut_at = 64 %}

with

judged as {{ inlined() }}(
    select * from {{ ref('int_tracking_events__judged') }}
),

recipients as (
    select
        recipient_id,
        email,
        extra,
        changed_in_run
    from {{ ref('int_recipients__current') }}
),

-- By what a page may say who its visitor is.
identities as (
    select
        recipient_id,
        changed_in_run,
        'recipient_id' as field,
        cast(recipient_id as string) as value
    from recipients
    union all
    select
        recipient_id,
        changed_in_run,
        'email' as field,
        {{ lowered(trimmed('email')) }} as value
    from recipients
    where email is not null
    union all
    {{ further_fields('recipients') }}
),
{% if is_incremental() %}
changed_events as (
    select
        event_key,
        visitor_id
    from judged
    where changed_in_run > {{ mark_run() }}
),

changed_recipients as (
    select recipient_id from recipients
    where changed_in_run > {{ mark_run() }}
),

-- Hits whose page named a recipient who arrived or changed, or whom they were taken for.
named_otherwise as (
    select
        stored.event_key,
        stored.visitor_id
    from {{ this }} as stored
    inner join identities
        on stored.rcpid_field = identities.field
            and stored.rcpid_value = identities.value
    where identities.changed_in_run > {{ mark_run() }}
    union all
    select
        event_key,
        visitor_id
    from {{ this }}
    where rcpid_field is not null
        and recipient_id in (select recipient_id from changed_recipients)
),

touched as (
    select * from changed_events
    union all
    select * from named_otherwise
    union all
    select
        event_key,
        visitor_id
    from {{ this }}
    where {{ is_asked_for('delivery_id') }}
    union all
    -- Their visitor may have no other event of the delivery that they are forced to.
    select
        event_key,
        visitor_id
    from judged
    where {{ is_asked_for('forced_delivery_id') }}
),

-- All hits of a visitor together: any event of theirs, of any delivery, may attribute hits around it.
base as (
    select * from judged
    where is_web_hit
        and (
            visitor_id in (select visitor_id from touched)
            or event_key in (select event_key from touched)
        )
    union all
    -- No web hits any more. They stay, as rows that no fact shows: their former delivery is told of it.
    select * from judged
    where not is_web_hit
        and event_key in (select event_key from changed_events)
        and event_key in (select event_key from {{ this }})
),
{%- else %}
base as (
    select * from judged
    where is_web_hit
),
{%- endif %}

said as (
    select
        *,
        {{ query_parameter('params', 'rcpid') }} as rcpid,
        {{ query_parameter('params', 'amount') }} as amount_text,
        {{ query_parameter('params', 'article') }} as article_text,
        case
            when source = 'tracking_log' and length(params) = {{ cut_at }}
                then {{ lowered("split_part(split_part(params, '&', -1), '=', 1)") }}
        end as cut_parameter
    from base
),

divided as (
    select
        *,
        {{ lowered(trimmed("split_part(trim(leading '@' from rcpid), '=', 1)")) }} as said_field,
        {{ trimmed("substr(rcpid, instr(rcpid, '=') + 1)") }} as said_value,
        {{ text_to_bigint(trimmed("substr(rcpid, instr(rcpid, '=') + 1)")) }} as said_id
    from said
),

-- field=value. Without a value it says nothing; one that cannot be read says that it is somebody unknown.
hits as (
    select
        *,
        case
            when cut_parameter = 'rcpid' or instr(rcpid, '=') = 0 then ''
            when said_value = '' then null
            when said_field = 'id' then 'recipient_id'
            else said_field
        end as rcpid_field
    from divided
),

identified as (
    select
        event_key,
        rcpid_field,
        case rcpid_field
            -- As everywhere, a negative 32-bit id is its unsigned value.
            when 'recipient_id'
                then cast(case when said_id < 0 then said_id + 4294967296 else said_id end as string)
            when 'email' then {{ lowered('said_value') }}
            else said_value
        end as rcpid_value
    from hits
    where rcpid_field is not null
),

-- The smallest id where several recipients share the value.
named as (
    select
        identified.event_key,
        min(identified.rcpid_field) as rcpid_field,
        min(identified.rcpid_value) as rcpid_value,
        coalesce(min(identities.recipient_id), 0) as recipient_id
    from identified
    left join identities
        on identified.rcpid_field = identities.field
            and identified.rcpid_value = identities.value
    group by identified.event_key
),

-- A time that cannot be right tells neither what came before nor what came after; nor does a provider, who
-- sees no cookie.
timeline as (
    select
        event_key,
        visitor_id,
        occurred_at,
        message_id,
        delivery_id,
        recipient_id,
        is_web_hit,
        is_in_time_range
        and delivery_id <> 0
        and not is_anonymous
        and coalesce(source <> 'esp_event', true) as is_contact,
        is_in_time_range
        and not is_web_hit
        and coalesce(source <> 'esp_event', true)
        and url_id <> 1
        and {{ is_message_tracking() }}
        and recipient_id <> 0 as is_identification,
        is_in_time_range and is_opted_out as is_refusal
    from judged
    where visitor_id in (select visitor_id from base)
),

-- Clocks show the click and the page it leads to at the same moment: the click comes first. Contacts are
-- numbered forwards, so that a row bears the number of the last one until then; identifications backwards,
-- that of the next one.
numbered as (
    select
        *,
        count(case when is_contact then 1 end) over until_now as contact_number,
        count(case when is_identification then 1 end) over from_now as identification_number,
        min(case when is_refusal then occurred_at end) over (partition by visitor_id) as refused_at
    from timeline
    window
        until_now as (
            partition by visitor_id
            order by
                occurred_at asc nulls last,
                case when is_contact then 0 else 1 end asc,
                event_key asc nulls last
            rows between unbounded preceding and current row
        ),
        from_now as (
            partition by visitor_id
            order by
                occurred_at asc nulls last,
                case when is_contact then 0 else 1 end asc,
                event_key asc nulls last
            rows between current row and unbounded following
        )
),

surrounded as (
    select
        event_key,
        visitor_id,
        contact_number,
        identification_number,
        refused_at
    from numbered
    where is_web_hit
),

contacts as (
    select
        visitor_id,
        contact_number,
        message_id,
        delivery_id,
        recipient_id
    from numbered
    where is_contact
),

identifications as (
    select
        visitor_id,
        identification_number,
        recipient_id
    from numbered
    where is_identification
),

-- Those whose first refusal was in a line that has been purged since.
refusals as (
    select
        person_key,
        refused_at
    from {{ ref('stg_landed__refusals') }}
),

salt as (
    select max(salt) as salt from {{ ref('stg_landed__salt') }}
),

weighed as (
    select
        hits.*,
        named.rcpid_value,
        named.recipient_id as named_recipient_id,
        contacts.message_id as contact_message_id,
        contacts.delivery_id as contact_delivery_id,
        contacts.recipient_id as contact_recipient_id,
        identifications.recipient_id as later_recipient_id,
        case
            when not hits.is_web_hit then 'no_web_hit'
            when hits.is_opted_out
                or hits.occurred_at >= surrounded.refused_at
                or hits.occurred_at >= refusals.refused_at
                then 'opted_out'
            when hits.delivery_id <> 0 then 'session'
            when hits.forced_delivery_id is not null then 'forced'
            when hits.message_id <> 0 then 'session'
            {%- if mode != 'session' %}
            when contacts.delivery_id is not null then 'last_delivery'
            {%- endif %}
            else '{{ 'anonymous' if mode == 'anonymous' else 'unattributed' }}'
        end as outcome
    from hits
    left join named
        on hits.event_key = named.event_key
    left join surrounded
        on hits.event_key = surrounded.event_key
    -- Fans out only to look at: each contact of a visitor has a number of its own.
    left join contacts
        on surrounded.visitor_id = contacts.visitor_id
            and surrounded.contact_number = contacts.contact_number
            and hits.is_in_time_range
    -- Fans out only to look at, likewise.
    left join identifications
        on surrounded.visitor_id = identifications.visitor_id
            and surrounded.identification_number = identifications.identification_number
            and hits.is_in_time_range
    cross join salt
    left join refusals
        on {{ person_key('hits.visitor_id', 'salt.salt') }} = refusals.person_key
),

attributed as (
    select
        *,
        case
            when outcome in ('session', 'last_delivery', 'forced', 'anonymous') then outcome
        end as attribution,
        case
            when outcome in ('session', 'forced') then message_id
            when outcome = 'last_delivery' then contact_message_id
            else 0
        end as attributed_message_id,
        case outcome
            when 'session' then delivery_id
            when 'forced' then forced_delivery_id
            when 'last_delivery' then contact_delivery_id
            else 0
        end as attributed_delivery_id,
        case
            when outcome not in ('session', 'last_delivery', 'forced', 'anonymous') then 0
            when rcpid_field is not null then named_recipient_id
            when message_id <> 0 or outcome = 'session' then recipient_id
            {%- if mode != 'session' %}
            when outcome = 'last_delivery' or contact_delivery_id is not null
                then coalesce(contact_recipient_id, 0)
            {%- endif %}
            {%- if mode == 'anonymous' %}
            when outcome in ('forced', 'anonymous') then coalesce(later_recipient_id, 0)
            {%- endif %}
            else 0
        end as attributed_recipient_id,
        case
            when url_type = 5 and {{ matches_pattern('amount_text', '^-?[0-9]+([.,][0-9]*)?$') }}
                then try_cast(replace(amount_text, ',', '.') as decimal(18, 4))
        end as amount,
        -- The published example of an article count ends in the l of a long number.
        case
            when url_type = 5 and {{ matches_pattern('article_text', '^-?[0-9]+[lL]?$') }}
                then cast(try_cast(replace(replace(article_text, 'l', ''), 'L', '') as integer) as bigint)
        end as article_count
    from weighed
){% if is_incremental() %},

-- A visitor of a million hits who comes back is no reason to rebuild all their deliveries.
unchanged as (
    select stored.event_key
    from {{ this }} as stored
    inner join attributed
        on stored.event_key = attributed.event_key
    where attributed.changed_in_run <= {{ mark_run() }}
        and stored.outcome = attributed.outcome
        and stored.message_id = attributed.attributed_message_id
        and stored.delivery_id = attributed.attributed_delivery_id
        and stored.recipient_id = attributed.attributed_recipient_id
        and stored.rcpid_value is not distinct from attributed.rcpid_value
        and not {{ is_asked_for('stored.delivery_id') }}
){% endif %}

select
    attributed.event_key,
    attributed.source,
    attributed.server,
    attributed.occurred_at,
    attributed.attributed_message_id as message_id,
    attributed.attributed_delivery_id as delivery_id,
    case
        when attributed.resolved_url_id <> 0 then attributed.resolved_url_id
        when attributed.tag_name is not null
            then {{ undeclared_tag_url_id('attributed.tag_name', 'attributed.url_type') }}
        else 0
    end as url_id,
    attributed.url_type,
    attributed.attributed_recipient_id as recipient_id,
    attributed.visitor_id,
    attributed.content_kind,
    -- It may be an address, and recipient_id says what there is to say.
    {{ without_parameter_value('attributed.params', 'rcpid') }} as params,
    attributed.device_class,
    attributed.os_name,
    attributed.os_version,
    attributed.browser_name,
    attributed.browser_version,
    attributed.user_agent_key,
    attributed.mail_proxy,
    attributed.is_machine,
    attributed.machine_rule,
    attributed.machine_confidence,
    attributed.ruleset_version,
    attributed.time_flag,
    attributed.is_in_time_range,
    attributed.is_pointer_conflict,
    false as is_anonymous,
    attributed.ingested_at,
    attributed.source_file,
    attributed.source_line,
    attributed.attribution,
    attributed.tag,
    attributed.amount,
    case
        when coalesce(attributed.url_type, 0) <> 5 or attributed.amount_text is null then null
        when attributed.amount is null then 'unreadable'
        when attributed.cut_parameter = 'amount' then 'possibly_cut'
        when {{ matches_pattern('attributed.amount_text', '[.,][0-9]{4}[0-9]*[1-9]') }} then 'rounded'
    end as amount_flag,
    attributed.article_count,
    case
        when coalesce(attributed.url_type, 0) <> 5 or attributed.article_text is null then null
        when attributed.article_count is null then 'unreadable'
        when attributed.cut_parameter = 'article' then 'possibly_cut'
    end as article_count_flag,
    {{ other_parameters('attributed.params', ['tagid', 'jobid', 'rcpid', 'amount', 'article']) }}
        as custom_params,
    attributed.outcome,
    attributed.rcpid_field,
    attributed.rcpid_value,
    cast({{ current_run() }} as bigint) as changed_in_run
from attributed
{% if is_incremental() -%}
where attributed.event_key not in (select unchanged.event_key from unchanged)
{%- endif %}
