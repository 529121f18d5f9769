"""Webhook events of e-mail service providers: JSON lines of SendGrid, Mailgun, Amazon SES and Postmark.

Belongs here: which provider a line is of, where each provider says what, our word for its event, what is refused.
Does not: which message of ours an event is about where it does not say so (dbt_project).

A line is one POST: an event, an array of events, or an envelope around one (Mailgun's `event-data`, the SNS message
of SES). One bounce of SES names several recipients: each is an event. A line is taken whole or quarantined whole.

Formats: the providers' public webhook references. What DuckDB's JSON parser does beyond the standard was measured:
it takes NaN, Infinity and a trailing comma (harmless: the line is kept as it is, and NaN is no time and no id), of
equal keys it takes the first (refused here, since others take the last), and nesting is no recursion (a line of
500,000 brackets takes 0.1 s). Nothing here may use json_structure, which refuses depth above 128 with an error.
"""

from collections.abc import Mapping

from log_ingest.catalog import ESP_EVENTS_SCHEMA
from log_ingest.formats.line_format import ParseSettings, terminator_sql, time_flag_sql
from log_ingest.sqltext import literal

FOLDERS = {
    "sendgrid": "sendgrid",
    "mailgun": "mailgun",
    **dict.fromkeys(("ses", "amazon_ses", "amazonses", "aws_ses"), "ses"),
    "postmark": "postmark",
}
"""Folder below esp_events/, lower case, to provider. Events in any other folder are told by what they hold."""

MAX_VALUE_CHARACTERS = 16 * 1024
MAX_RECIPIENTS = 100
"""Of one SES event; SES itself takes 50. Both bound what a hostile line can blow up to."""

_DRIFT_LINES = 20
_DRIFT_SHARE = 0.5

_ID_KEYS = ("message_id", "delivery_id", "recipient_id")
_PREFIX = "mtw_"

# Where a provider says it, the first that is there counts. `detail…` are what its own branches below look at.
_PATHS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "sendgrid": {
        "event_type": ("$.event",),
        "time_text": ("$.timestamp",),
        "address": ("$.email",),
        "url": ("$.url",),
        "user_agent": ("$.useragent",),
        "ip": ("$.ip",),
        "event_id": ("$.sg_event_id",),
        "provider_message": ("$.sg_message_id", '$."smtp-id"'),
        "machine": ("$.sg_machine_open",),
        "text": ("$.reason", "$.response", "$.bounce_classification"),
        "detail": ("$.type",),
    },
    "mailgun": {
        "event_type": ("$.event",),
        "time_text": ("$.timestamp",),
        "address": ("$.recipient",),
        "url": ("$.url",),
        "user_agent": ('$."client-info"."user-agent"',),
        "ip": ("$.ip",),
        "event_id": ("$.id",),
        "provider_message": ('$.message.headers."message-id"',),
        "machine": ('$."client-info".bot',),
        "text": ('$."delivery-status".message', '$."delivery-status".description', "$.reason"),
        "detail": ("$.severity",),
        "detail_2": ('$."delivery-status"."bounce-type"',),
        "detail_3": ("$.reason",),
    },
    "ses": {
        "event_type": ("$.eventType", "$.notificationType"),
        "time_text": (
            *("$.bounce.timestamp", "$.complaint.timestamp", "$.delivery.timestamp", "$.open.timestamp"),
            *("$.click.timestamp", "$.deliveryDelay.timestamp", "$.subscription.timestamp", "$.mail.timestamp"),
        ),
        "url": ("$.click.link",),
        "user_agent": ("$.open.userAgent", "$.click.userAgent"),
        "ip": ("$.open.ipAddress", "$.click.ipAddress"),
        "event_id": ("$.bounce.feedbackId", "$.complaint.feedbackId"),
        "provider_message": ("$.mail.messageId",),
        "text": (
            *("$.complaint.complaintFeedbackType", "$.reject.reason", "$.failure.errorMessage"),
            *("$.deliveryDelay.delayType", "$.bounce.bounceSubType"),
        ),
        "detail": ("$.bounce.bounceType",),
        "detail_2": ("$.bounce.bounceSubType",),
    },
    "postmark": {
        "event_type": ("$.RecordType",),
        "time_text": ("$.DeliveredAt", "$.BouncedAt", "$.ReceivedAt", "$.ChangedAt"),
        "address": ("$.Recipient", "$.Email"),
        "url": ("$.OriginalLink",),
        "user_agent": ("$.UserAgent",),
        "ip": ("$.Geo.IP",),
        "event_id": ("$.ID",),
        "provider_message": ("$.MessageID",),
        "text": ("$.Description", "$.Details"),
        "detail": ("$.Type",),
        "detail_2": ("$.SuppressionReason",),
        "detail_3": ("$.Origin",),
    },
}
_TEXTS = (
    "event_type",
    "time_text",
    "address",
    "url",
    "user_agent",
    "ip",
    "event_id",
    "provider_message",
    "machine",
    "text",
)
_DETAILS = ("detail", "detail_2", "detail_3")

# Our own ids among what the sender attached: the container, and how a key of it is read.
_ATTACHED = {
    "sendgrid": ("$.{}", "$.unique_args.{}"),
    "mailgun": ('$."user-variables".{}',),
    "ses": ("$.mail.tags.{}[0]",),
    "postmark": ("$.Metadata.{}",),
}
_CONTAINERS = {
    "sendgrid": (),
    "mailgun": ('$."user-variables"',),
    "ses": ("$.mail", "$.mail.tags"),
    "postmark": ("$.Metadata",),
}

_KINDS: Mapping[str, Mapping[str, str]] = {
    "sendgrid": {
        **{kind: kind for kind in ("processed", "delivered", "deferred", "bounce", "open", "click", "unsubscribe")},
        "dropped": "bounce",
        "spamreport": "complaint",
        "group_unsubscribe": "unsubscribe",
    },
    "mailgun": {
        "accepted": "processed",
        "delivered": "delivered",
        "rejected": "bounce",
        "opened": "open",
        "clicked": "click",
        "unsubscribed": "unsubscribe",
        "complained": "complaint",
    },
    "ses": {
        "send": "processed",
        "delivery": "delivered",
        "deliverydelay": "deferred",
        "bounce": "bounce",
        "reject": "bounce",
        "rendering failure": "bounce",
        "complaint": "complaint",
        "open": "open",
        "click": "click",
    },
    "postmark": {"delivery": "delivered", "spamcomplaint": "complaint", "open": "open", "click": "click"},
}
"""Event type of the provider, lower case, to ours. Those that depend on more are in _kind; all further are `other`."""

_POSTMARK_BOUNCES = {
    "hard": ("hardbounce", "bademailaddress"),
    "soft": ("softbounce", "dnserror", "spamnotification", "blocked", "dmarcpolicy", "unknown"),
    "dropped": ("manuallydeactivated", "unconfirmed", "smtpapierror", "templaterenderingfailed", "virusnotification"),
}

_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:?[0-9]{2})"
_EPOCH = r"-?[0-9]{1,12}(?:\.[0-9]+)?"

_DETAIL = {
    "invalid_json": "not valid JSON",
    "not_an_object": "an event is not a JSON object",
    "unknown_provider": "its folder names no provider, and it is not clearly an event of one",
    "bad_envelope": "the message of the SNS envelope is no event",
    "duplicate_keys": "a key comes twice, so what it says is ambiguous",
    "control_character": "has a NUL character",
    "bad_event_type": "has no readable event type",
    "bad_time": "its time is missing or not of the published form",
    "bad_address": "its address is not a text",
    "too_many_recipients": f"names more than {MAX_RECIPIENTS} recipients",
    "value_too_long": f"a value has more than {MAX_VALUE_CHARACTERS} characters",
    "no_event": "an empty array",
    "control_message": "a message of the provider about the subscription itself",
}


class EspEvents:
    """The format of esp_events, as formats.line_format.LineFormat."""

    has_pointers = False
    gives_one_row = False
    read_usual = None
    identity = "event_key"

    def accepted_sql(self, lines: str, settings: ParseSettings) -> str:
        own = {
            "ingested_at": settings.arrived,
            "terminator": terminator_sql(),
            "time_flag": time_flag_sql(settings),
            # The bytes of the line, once: on the first of its rows.
            "line": "case when element_number = first_number then lines.line end",
        }
        columns = ", ".join(f"{own.get(name, name)} as {name}" for name in ESP_EVENTS_SCHEMA.names)
        return f"""
        with {_events(lines)},
        taken as (
            select * from events
            where not is_control and problem is null
                and row not in (select row from events where problem is not null)
        ),
        first_rows as (select row, min(element_number) as first_number from taken group by row)
        select {columns}
        from taken join first_rows using (row) join {lines} as lines using (row)
        order by row, element_number
        """

    def set_aside_sql(self, lines: str, settings: ParseSettings) -> str:
        details = " ".join(f"when {literal(reason)} then {literal(text)}" for reason, text in _DETAIL.items())
        return f"""
        with {_events(lines)},
        reasons as (
            select
                row,
                min_by(problem, element_number) filter (problem is not null) as problem,
                min(place) filter (problem is not null) as place,
                min_by(control_reason, element_number) as control_reason,
                count(*) as element_count
            from events group by row
        )
        select
            row,
            case when problem is null then 'not_tracking' else 'quarantined' end as disposition,
            coalesce(problem, control_reason) as reason,
            case when element_count > 1 and problem is not null then 'event ' || place || ': ' else '' end
                || case coalesce(problem, control_reason) {details} end as detail,
            null::varchar as server,
            null::bigint as pointer
        from reasons
        """

    def position(self, beginning: bytes) -> tuple[str | None, int | None]:
        return None, None

    def drift(self, lines: list[bytes]) -> str:
        strange = sum(not line.lstrip(b"\xef\xbb\xbf \t").startswith((b"{", b"[")) for line in lines)
        if len(lines) < _DRIFT_LINES or strange < _DRIFT_SHARE * len(lines):
            return ""
        return f"{strange} of its first {len(lines)} lines are not JSON objects or arrays"


def _events(lines: str) -> str:
    """CTEs that end in `events`: one row per event of each line, with what it says and, where it is refused, why.

    The line itself is not carried along: an array of many events would multiply it.
    """
    extracted = "\nunion all\n".join(_extracted(provider) for provider in _PATHS)
    folders = " ".join(f"when {literal(name)} then {literal(provider)}" for name, provider in FOLDERS.items())
    return f"""
    documents as (
        select
            row,
            case lower(split_part(source_file, '/', 2)) {folders} end as folder_provider,
            -- A byte order mark at the start of a file is not part of its first document.
            ltrim(line, chr(65279)) as document,
            json_valid(document) as is_json
        from {lines}
    ),
    listed as (
        select
            row,
            folder_provider,
            is_json,
            case when is_json and json_type(document) = 'ARRAY' then from_json(document, '["json"]')::varchar[]
                else [document] end as elements
        from documents
    ),
    elements as (
        select row, folder_provider, is_json, unnest(elements) as element, generate_subscripts(elements, 1) as place
        from listed
        union all
        select row, folder_provider, is_json, null, 1 from listed where len(elements) = 0
    ),
    -- What tells an envelope, and in a folder of no provider what tells one.
    shaped as (
        select
            row,
            place,
            folder_provider,
            is_json,
            element is null as is_empty,
            case when is_json and json_type(element) = 'OBJECT' then element end as object,
            json_extract_string(object, [
                '$.Type', '$.Message', '$.MessageId', '$."event-data"', '$.RecordType', '$.eventType',
                '$.notificationType', '$.mail.messageId', '$.event', '$.sg_event_id', '$.sg_message_id', '$.email',
                '$.recipient', '$.message.headers."message-id"'
            ]) as s,
            coalesce(folder_provider, 'ses') = 'ses' and s[2] is not null
                and coalesce(s[1] in ('Notification', 'SubscriptionConfirmation', 'UnsubscribeConfirmation'), false)
                as is_sns,
            coalesce(folder_provider, 'mailgun') = 'mailgun' and s[4] is not null as is_signed
        from elements
    ),
    opened as (
        select
            row,
            place,
            is_json,
            is_empty,
            object,
            case when is_sns then s[3] end as envelope_id,
            -- SNS confirms subscriptions, and SES a new destination, in messages of the same kind.
            is_sns and (s[1] <> 'Notification' or starts_with(s[2], 'Successfully validated SNS topic'))
                as is_confirmation,
            case when is_sns then s[2] when is_signed then s[4] else object end as inside,
            case when json_valid(inside) and json_type(inside) = 'OBJECT' then inside end as event,
            case
                when folder_provider is not null then [folder_provider]
                else list_filter([
                    case when is_sns or (coalesce(s[6], s[7]) is not null and s[8] is not null) then 'ses' end,
                    case when s[5] is not null then 'postmark' end,
                    case when s[9] is not null and s[12] is not null and coalesce(s[10], s[11]) is not null
                        then 'sendgrid' end,
                    case when is_signed or (s[9] is not null and s[13] is not null and s[14] is not null)
                        then 'mailgun' end
                ], lambda told: told is not null)
            end as providers,
            is_sns or is_signed as is_enveloped
        from shaped
    ),
    placed as materialized (
        select
            * exclude (providers, inside, is_enveloped),
            case when len(providers) = 1 then providers[1] end as provider,
            {_comes_twice("event")} or (is_enveloped and {_comes_twice("object")}) as has_equal_keys
        from opened
    ),
    extracted as (
        {extracted}
        union all
        select
            *,
            {", ".join(f"null as {name}" for name in (*_TEXTS, *_DETAILS))},
            null as attached,
            null as recipients,
            null as is_opt_out
        from placed where provider is null
    ),
    said as (
        select
            * exclude (time_text, address, recipients, machine, attached),
            -- One event per recipient, where it names several.
            unnest(
                case
                    when len(recipients) between 1 and {MAX_RECIPIENTS} then recipients
                    else [{{'address': address, 'text': null::varchar}}]
                end
            ) as recipient,
            unnest(range(1, greatest(1, case when len(recipients) <= {MAX_RECIPIENTS} then len(recipients) end) + 1))
                as recipient_place,
            coalesce(len(recipients), 0) > {MAX_RECIPIENTS} as has_many_recipients,
            {_instant("time_text")} as occurred_at,
            lower(machine) as machine,
            {", ".join(f"{_number(f'attached[{place}]')} as {key}" for place, key in enumerate(_ID_KEYS, 1))}
        from extracted
    ),
    typed as (
        select
            * exclude (text),
            (place - 1) * {MAX_RECIPIENTS} + recipient_place as element_number,
            nullif(trim(regexp_replace(recipient.address, '^.*<([^<>]*)>[^<>]*$', '\\1')), '') as address,
            coalesce(recipient.text, text) as text,
            {_kind()} as event_kind
        from said
    ),
    events as materialized (
        select
            row,
            place,
            element_number,
            is_empty or is_confirmation as is_control,
            case when is_empty then 'no_event' else 'control_message' end as control_reason,
            case
                when is_empty or is_confirmation then null
                when not is_json then 'invalid_json'
                when object is null then 'not_an_object'
                when contains(object, '\\u0000') then 'control_character'
                when provider is null then 'unknown_provider'
                when event is null then 'bad_envelope'
                when has_equal_keys then 'duplicate_keys'
                when event_type is null or not regexp_full_match(event_type, '[A-Za-z][A-Za-z _-]{{0,63}}')
                    then 'bad_event_type'
                when occurred_at is null then 'bad_time'
                when has_many_recipients then 'too_many_recipients'
                when starts_with(address, '{{') or starts_with(address, '[') then 'bad_address'
                when greatest({", ".join(f"length({name})" for name in _MEASURED)}) > {MAX_VALUE_CHARACTERS}
                    then 'value_too_long'
            end as problem,
            {_event_key()} as event_key,
            provider,
            event_kind,
            event_type,
            coalesce(event_id, envelope_id) as provider_event_id,
            provider_message as provider_message_id,
            occurred_at,
            coalesce(message_id, 0) as message_id,
            coalesce(delivery_id, 0) as delivery_id,
            coalesce(recipient_id, 0) as recipient_id,
            address,
            url,
            user_agent,
            ip,
            {_is_machine()} as is_machine,
            {_bounce_kind()} as bounce_kind,
            case when event_kind in ('bounce', 'deferred', 'complaint') then text end as bounce_text
        from typed
    )
    """


def _extracted(provider: str) -> str:
    """What one provider's events say, as texts, beside the columns of `placed`."""
    paths: list[str] = []

    def first(*of: str) -> str:
        paths.extend(of)
        places = (f"nullif(f[{len(paths) - len(of) + n}], '')" for n in range(1, len(of) + 1))
        return f"coalesce({', '.join(places)})" if of else "null"

    texts = {name: first(*_PATHS[provider].get(name, ())) for name in (*_TEXTS, *_DETAILS)}
    ids = [
        first(*(path.format(f"{prefix}{key}") for path in _ATTACHED[provider] for prefix in (_PREFIX, "")))
        for key in _ID_KEYS
    ]
    recipients, is_opt_out = "null", "null"
    twice = " or ".join(["has_equal_keys", *(_comes_twice("event", path) for path in _CONTAINERS[provider])])
    if provider == "ses":
        recipients = _SES_RECIPIENTS
        is_opt_out = _SES_OPT_OUT
        # SES itself takes tags as a header; older notifications repeat the headers and no tags.
        ids = [f"coalesce({found}, {_ses_header_tag(key)})" for found, key in zip(ids, _ID_KEYS, strict=True)]
    if provider == "postmark":
        is_opt_out = f"{first('$.SuppressSending')} = 'true'"
    return f"""
        select
            * exclude (f) replace (coalesce({twice}, false) as has_equal_keys),
            {", ".join(f"{sql} as {name}" for name, sql in texts.items())},
            [{", ".join(ids)}] as attached,
            {recipients} as recipients,
            {is_opt_out} as is_opt_out
        from (
            select *, json_extract_string(event, [{", ".join(map(literal, paths))}]) as f
            from placed where provider = {literal(provider)}
        )
    """


# A list of (address, text), or NULL. Who of several recipients opened or clicked is not said.
_SES_RECIPIENTS = """
    case
        when json_extract_string(event, '$.delivery.recipients[0]') is not null
            then list_transform(
                from_json(json_extract(event, '$.delivery.recipients'), '["varchar"]'),
                lambda one: {'address': one, 'text': null::varchar}
            )
        when coalesce(
            json_extract(event, '$.bounce.bouncedRecipients[0]'),
            json_extract(event, '$.complaint.complainedRecipients[0]'),
            json_extract(event, '$.deliveryDelay.delayedRecipients[0]')
        ) is not null
            then list_transform(
                from_json(
                    coalesce(
                        json_extract(event, '$.bounce.bouncedRecipients'),
                        json_extract(event, '$.complaint.complainedRecipients'),
                        json_extract(event, '$.deliveryDelay.delayedRecipients')
                    ),
                    '[{"emailAddress": "varchar", "diagnosticCode": "varchar"}]'
                ),
                lambda one: {'address': one.emailAddress, 'text': one.diagnosticCode}
            )
        when json_array_length(event, '$.mail.destination') = 1
            or lower(event_type) in ('send', 'reject', 'rendering failure')
            then list_transform(
                from_json(json_extract(event, '$.mail.destination'), '["varchar"]'),
                lambda one: {'address': one, 'text': null::varchar}
            )
    end
"""

# The preferences say the whole state, before and after: leaving is what has come to it.
_SES_OPT_OUT = """
    coalesce(json_extract_string(event, '$.subscription.newTopicPreferences.unsubscribeAll') = 'true', false)
    or len(list_filter(
        json_extract_string(event, '$.subscription.newTopicPreferences.topicSubscriptionStatus[*].subscriptionStatus'),
        lambda status: status = 'OptOut'
    )) > len(list_filter(
        json_extract_string(event, '$.subscription.oldTopicPreferences.topicSubscriptionStatus[*].subscriptionStatus'),
        lambda status: status = 'OptOut'
    ))
"""


def _ses_header_tag(key: str) -> str:
    tags = """list_filter(
        from_json(json_extract(event, '$.mail.headers'), '[{"name": "varchar", "value": "varchar"}]'),
        lambda header: lower(header.name) = 'x-ses-message-tags'
    )[1].value"""
    return f"nullif(regexp_extract({tags}, '(?:^|[,;\\s])(?:{_PREFIX})?{key}=([^,;\\s]+)', 1), '')"


def _comes_twice(document: str, path: str = "") -> str:
    keys = f"json_keys({document}{', ' + literal(path) if path else ''})"
    return f"len({keys}) <> len(list_distinct({keys}))"


def _instant(text: str) -> str:
    """A time as UTC: seconds since 1970, or ISO 8601 with its zone. Years of four digits only."""
    seconds = f"try_cast({text} as decimal(38, 6))"
    instant = f"""case
        when regexp_full_match({text}, {literal(_EPOCH)}) then make_timestamp(cast({seconds} * 1000000 as bigint))
        when regexp_full_match({text}, {literal(_TIME)}) then timezone('UTC', try_cast({text} as timestamptz))
    end"""
    return f"case when year({instant}) between 1 and 9999 then {instant} end"


def _number(text: str) -> str:
    """An id of ours, decimal or hex behind 0x, as its unsigned value; NULL where it is no id (anyone may name a
    custom argument message_id).
    """
    value = f"case when regexp_full_match({text}, '-?[0-9]{{1,19}}|0[xX][0-9A-Fa-f]{{1,16}}') then {text} end"
    number = f"try_cast({value} as bigint)"
    return f"case when {number} >= 0 then {number} when {number} >= -2147483648 then {number} + 4294967296 end"


def _kind() -> str:
    by_provider = " ".join(
        f"when {literal(provider)} then case lower(event_type)"
        f" {' '.join(f'when {literal(name)} then {literal(kind)}' for name, kind in kinds.items())} end"
        for provider, kinds in _KINDS.items()
    )
    bounces = ", ".join(literal(name) for names in _POSTMARK_BOUNCES.values() for name in names)
    return f"""case
        when provider = 'mailgun' and lower(event_type) = 'failed'
            then case when lower(detail) = 'temporary' then 'deferred' else 'bounce' end
        when provider = 'ses' and lower(event_type) = 'subscription' and is_opt_out then 'unsubscribe'
        when provider = 'postmark' and lower(event_type) = 'bounce' then case
            when lower(detail) in ({bounces}) then 'bounce'
            when lower(detail) = 'transient' then 'deferred'
            when lower(detail) = 'spamcomplaint' then 'complaint'
            when lower(detail) = 'unsubscribe' then 'unsubscribe'
            else 'other'
        end
        -- Suppressions that follow a bounce, a complaint or an administrator are no act of the recipient.
        when provider = 'postmark' and lower(event_type) = 'subscriptionchange' and is_opt_out
            and detail_2 = 'ManualSuppression' and detail_3 = 'Recipient' then 'unsubscribe'
        else coalesce(case provider {by_provider} end, 'other')
    end"""


def _bounce_kind() -> str:
    """hard: will never arrive. soft: did not arrive. dropped: was not even tried."""
    postmark = " ".join(
        f"when lower(detail) in ({', '.join(map(literal, names))}) then {literal(kind)}"
        for kind, names in _POSTMARK_BOUNCES.items()
    )
    return f"""case
        when event_kind = 'deferred' then 'soft'
        when event_kind <> 'bounce' then null
        when lower(event_type) in ('dropped', 'rejected', 'reject', 'rendering failure') then 'dropped'
        when provider = 'sendgrid' then case when lower(detail) = 'blocked' then 'soft' else 'hard' end
        when provider = 'mailgun' then case
            when starts_with(lower(detail_3), 'suppress-') then 'dropped'
            when lower(detail_2) = 'soft' then 'soft'
            else 'hard'
        end
        when provider = 'ses' then case
            when detail_2 in ('Suppressed', 'OnAccountSuppressionList') then 'dropped'
            when detail = 'Permanent' then 'hard'
            else 'soft'
        end
        when provider = 'postmark' then case {postmark} end
    end"""


def _is_machine() -> str:
    """The provider's own verdict, NULL where it gives none. Mailgun names the bot."""
    return """case
        when machine = 'true' then true
        when machine in ('false', 'none') then false
        when provider = 'mailgun' then machine is not null or null
    end"""


_MEASURED = ("event_type", "address", "url", "user_agent", "ip", "event_id", "provider_message", "text")


def _event_key() -> str:
    """The identity of an event: what happened to which message, when, by what means.

    Left out is all that a repeated POST may say anew: event and notification ids, signatures, attempts, texts.
    """
    said = (
        "provider",
        "event_type",
        "provider_message",
        "lower(address)",
        "epoch_us(occurred_at)",
        "url",
        "user_agent",
    )
    parts = (*said, "ip", *_ID_KEYS)
    return f"md5(concat_ws(chr(9), {', '.join(f'coalesce({part}::varchar, chr(1))' for part in parts)}))"
