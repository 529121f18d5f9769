r"""The access log of a web server (Apache, nginx): tracking requests among all others, in vectorised SQL.

A line is `address identity user [time] "request" status bytes`, then optionally referrer, user agent and whatever a
site appends, in double quotes or bare; a virtual host may stand before all of it. Tracking requests are `/r/?id=…` (an
open or a click) and `/r/<anything>?tagid=…` (web tracking). What a mail gateway did to a query is undone where that
leaves no doubt; parameter values stay percent-encoded as logged.

What the redirection server would log decides which requests count: GET and HEAD, and POST of a link (one-click
unsubscribe); answered with content or with a temporary redirect. A permanent redirect is none: it sends the same
request elsewhere (http to https), where it is logged again.
"""

import re

from log_ingest.catalog import ACCESS_LOGS_SCHEMA
from log_ingest.formats.line_format import ParseSettings, terminator_sql, time_flag_sql
from log_ingest.sqltext import literal

_TIME = r"[0-9]{1,2}/[A-Za-z]{3}/[0-9]{4}(?::[0-9]{2}){3}(?:\.[0-9]{1,9})? [+-][0-9]{4}"
_SHAPE = r'^[^ "]+ (?:[^ "\[]+ |"" )*\[' + _TIME + r'\] "(?:[^"\\]|\\.)*" [0-9]{3} (?:[0-9]+|-)(?: |$)'
"""A line of any known variant, to behind its byte count: matched without capture groups, which cost much more."""

_MARK = "/r/"
"""No line without it is a tracking request: this test is all that the other lines cost."""

# A character that a gateway may have percent-escaped, once or over and over (%2C, %252C, %25252C).
_ESCAPED = "%(?:25)*"
_BEGIN = rf"(?:[? +]|{_ESCAPED}(?:3F|20))"
_AND = rf"(?:(?:&|{_ESCAPED}26)amp(?:;|{_ESCAPED}3B)|[&;]|{_ESCAPED}(?:26|3B))"
_EQUALS = rf"(?:=|{_ESCAPED}3D)"
_COMMA = rf"(?:,|{_ESCAPED}2C)"
_ID_NAME = rf"(?i)^{_BEGIN}id{_EQUALS}"
_ID = rf"{_ID_NAME}[a-z][0-9a-f]{{1,16}}{_COMMA}[0-9a-f]{{1,16}}{_COMMA}[0-9a-f]{{1,16}}(?:{_AND}|$)"

_HEX_ID = "[0-9a-fA-F]{1,16}"
_ADDRESS = r"(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]*)"
_VISITOR = "[0-9A-Za-z_@.-]{1,64}"

# Characters that no framed line has (framing.unfit) stand for an escaped backslash and quote while a line is cut at
# its quotes.
_BACKSLASH, _QUOTE = "chr(1)", "chr(2)"

_REASONS = (
    ("not_a_log_line", "is no line of an access log in a known format"),
    ("bad_time", "the time is impossible"),
    ("error_status", "a tracking request that the server did not serve; status "),
    ("moved_permanently", "a tracking request that was sent elsewhere for good and is logged there; status "),
    ("bad_method", "a tracking request by a method that the redirection server does not serve"),
    ("missing_id", "a request to the redirection server that begins with no id parameter"),
    ("bad_id", "the id is not letter, message, delivery and URL in hex"),
    ("missing_tagid", "a web-tracking request without a tagid"),
    ("bad_tagid", "the tagid holds control characters"),
    ("bad_jobid", "the jobid is not a hex number"),
    ("id_out_of_range", "an id needs more than 63 bits"),
)
_NOT_TRACKING = "not_tracking"

_DRIFT_LINES = 20
_DRIFT_SHARE = 0.5


class AccessLog:
    """The format of access_logs, as formats.line_format.LineFormat."""

    has_pointers = False
    gives_one_row = True
    read_usual = None
    identity = "event_key"

    def accepted_sql(self, lines: str, settings: ParseSettings) -> str:
        return f"select {', '.join(ACCESS_LOGS_SCHEMA.names)} from ({_parsed(lines, settings)}) where reason is null"

    def set_aside_sql(self, lines: str, settings: ParseSettings) -> str:
        details = " ".join(f"when {literal(reason)} then {literal(text)}" for reason, text in _REASONS)
        return f"""
        with judged as (
            select
                row,
                case when not regexp_matches(line, {literal(_SHAPE)}) then 'not_a_log_line' else '{_NOT_TRACKING}' end
                    as reason,
                '' as status
            from {lines}
            where not contains(line, '{_MARK}')
            union all
            select row, reason, cast(status as varchar) from ({_parsed(lines, settings)})
        )
        select
            row,
            case when reason = '{_NOT_TRACKING}' then '{_NOT_TRACKING}' else 'quarantined' end as disposition,
            reason,
            case reason {details} else 'no tracking request' end
                || case when reason in ('error_status', 'moved_permanently') then status else '' end as detail,
            null::varchar as server,
            null::bigint as pointer
        from judged
        """

    def position(self, beginning: bytes) -> tuple[str | None, int | None]:
        return None, None

    def drift(self, lines: list[bytes]) -> str:
        strange = sum(_SHAPE_BYTES.match(line) is None for line in lines)
        if len(lines) < _DRIFT_LINES or strange < _DRIFT_SHARE * len(lines):
            return ""
        return f"{strange} of its first {len(lines)} lines are no lines of an access log in a known format"


_SHAPE_BYTES = re.compile(_SHAPE.encode())


def _parsed(lines: str, settings: ParseSettings) -> str:
    """A SELECT over the lines that may be tracking requests, with every column of ACCESS_LOGS_SCHEMA, `row` and
    `reason`: why it is not accepted, NULL where it is.
    """
    # q: the line cut at its quotes: 1 before the request, 2 request, 3 status and bytes, 4 referrer, 6 user agent, from
    # 7 on what a site appended, quoted or not.
    return rf"""
    with candidates as (
        -- Sorting packs the few lines that are left into full vectors: what follows costs half.
        select *, regexp_matches(line, {literal(_SHAPE)}) as is_line from {lines} where contains(line, '{_MARK}')
        order by row
    ),
    cut as (
        select
            *,
            case when is_line then string_split(
                replace(
                    replace(replace(line, '\\', {_BACKSLASH}), '\"', {_QUOTE}),
                    ' "" [', ' - ['
                ), '"'
            ) end as q
        from candidates
    ),
    pieces as (
        select
            *,
            string_split(split_part(q[1], ' [', 1), ' ') as before,
            rtrim(split_part(q[1], ' [', 2), '] ') as time_text,
            split_part(q[2], ' ', 1) as method_text,
            regexp_replace(q[2], ' +HTTP/[0-9.]+$', '') as asked,
            try_cast(split_part(ltrim(q[3]), ' ', 1) as bigint) as status,
            {_unescaped("q[6]")} as user_agent_text,
            replace(';' || array_to_string(q[7:], ';') || ';', '; ', ';') as appended
        from cut
    ),
    targets as (
        select
            *,
            -- A request through a proxy names the scheme and the host.
            regexp_replace({_unescaped("substr(asked, length(method_text) + 2)")}, '^https?://[^/]*', '') as target,
            try_strptime(split_part(time_text, ' ', 1), ['%d/%b/%Y:%H:%M:%S', '%d/%b/%Y:%H:%M:%S.%f'])
                - to_minutes(
                    try_cast(substr(time_text, -5, 1) || '1' as integer)
                    * (60 * try_cast(substr(time_text, -4, 2) as integer) + try_cast(substr(time_text, -2) as integer))
                ) as occurred_at,
            -- A virtual host stands before the address, with a port or without; a chain of proxies in its place.
            case
                when len(before) = 3 then before[1]
                when ends_with(before[1], ',') then rtrim(before[1], ',')
                when regexp_full_match(before[2], {literal(_ADDRESS)})
                    or (regexp_matches(before[1], ':[0-9]+$') and not regexp_full_match(before[1], {literal(_ADDRESS)}))
                    then before[2]
                else before[1]
            end as ip,
            {_cookies("appended")} as cookies
        from pieces
    ),
    shaped as (
        select
            *,
            starts_with(target, '{_MARK}') as is_below,
            substr(target, {len(_MARK) + 1}) as tail,
            regexp_extract(tail, '^[^?&=;%+ ]*') as random_part,
            regexp_extract(tail, {literal(_ID)}) as id_head,
            case
                when contains(tail, 'tagid')
                    then regexp_replace(substr(tail, length(random_part) + 1), {literal("(?i)^" + _BEGIN)}, '')
            end as query,
            regexp_replace(
                case when contains(query, '=') then query else {_decoded("replace(query, '%25', '%')")} end,
                '(?i)&amp;', '&', 'g'
            ) as plain_query,
            -- Where any & is left as it was, a semicolon is data.
            '&' || case when contains(plain_query, '&') then plain_query else replace(plain_query, ';', '&') end
                as web_query,
            {_decoded(_cookie("nlid"))} as session,
            regexp_full_match(session, '{_HEX_ID}\|{_HEX_ID}') as is_session
        from targets
    ),
    typed as (
        select
            *,
            case
                when not is_below then null
                when random_part = '' and regexp_matches(tail, {literal(_ID_NAME)}) then 'message'
                when contains(web_query, '&tagid=') then 'web'
                when random_part = '' then 'message'
                when regexp_full_match(random_part, '[0-9]+') then 'web'
            end as hit_kind,
            string_split(
                case
                    -- `?id=`
                    when not contains(id_head, '%') then substr(id_head, 5)
                    else regexp_replace(
                        regexp_replace(id_head, {literal(_ID_NAME)}, ''), {literal("(?i)" + _COMMA)}, ',', 'g'
                    )
                end, ','
            ) as ids,
            {_decoded(_parameter("tagid"))} as tag_text,
            {_parameter("jobid")} as job,
            {_decoded(_cookie("uuid230"))} as visitor,
            {_decoded(_cookie("acoptout"))} = '1' as is_opted_out
        from shaped
    ),
    named as (
        select
            *,
            hit_kind = 'web' as is_web,
            is_session and try_cast('0x' || split_part(session, '|', 1) as bigint) is not null
                and try_cast('0x' || split_part(session, '|', 2) as bigint) is not null as has_valid_session,
            case when is_web then split_part(session, '|', 1) else substr(ids[1], 2) end as message_hex,
            case when is_web then split_part(session, '|', 2) else ids[2] end as delivery_hex,
            regexp_extract(ids[3], '^{_HEX_ID}') as url_hex,
            substr(tail, length(id_head) + 1) as behind_id,
            nullif(case
                when is_web then substr(web_query, 2)
                when regexp_matches(id_head, '(?i)&amp;$') then regexp_replace(behind_id, '(?i)&amp;', '&', 'g')
                when ends_with(id_head, ';') then replace(behind_id, ';', '&')
                else behind_id
            end, '') as params
        from typed
    ),
    found as (
        select
            *,
            case when is_web and not has_valid_session then 0 else {_id("message_hex")} end as message_id,
            case when is_web and not has_valid_session then 0 else {_id("delivery_hex")} end as delivery_id,
            case when is_web then 0 else {_id("url_hex")} end as url_id,
            case when is_web and job <> '' then {_id("job")} end as forced_id
        from named
    )
    select
        row, file_id, source_file, line_number, {settings.arrived} as ingested_at, byte_offset,
        {terminator_sql()} as terminator,
        md5(line) as event_key,
        line,
        case when length(source_file) - length(replace(source_file, '/', '')) > 1 then split_part(source_file, '/', 2)
            end as site,
        hit_kind,
        occurred_at,
        {time_flag_sql(settings)} as time_flag,
        message_id, delivery_id, url_id,
        case when not is_web then ids[1][1] end as content_kind,
        params,
        case when is_web then tag_text end as tag,
        nullif(forced_id, 0) as forced_delivery_id,
        case when regexp_full_match(visitor, '{_VISITOR}') then visitor end as visitor_id,
        case when is_web then has_valid_session end as has_session,
        is_opted_out,
        method_text as method,
        status,
        case when user_agent_text = '-' then '' else coalesce(user_agent_text, '') end as user_agent,
        nullif(ip, '-') as ip,
        nullif(regexp_extract(appended, ';({_ADDRESS}(?:, *[^;]*)?);', 1), '') as forwarded_for,
        case
            when not is_line or len(q) % 2 = 0 then 'not_a_log_line'
            when hit_kind is null then '{_NOT_TRACKING}'
            when not is_web and id_head = '' then
                case when regexp_matches(tail, {literal(_ID_NAME)}) then 'bad_id' else 'missing_id' end
            when is_web and coalesce(tag_text, '') = '' then 'missing_tagid'
            when is_web and regexp_matches(tag_text, '[\x00-\x1f\x7f]') then 'bad_tagid'
            when is_web and not regexp_full_match(job, '(?:{_HEX_ID})?') then 'bad_jobid'
            when message_id is null or delivery_id is null or url_id is null
                or (is_web and job <> '' and forced_id is null) then 'id_out_of_range'
            when occurred_at is null then 'bad_time'
            when not (method_text in ('GET', 'HEAD') or (method_text = 'POST' and not is_web)) then 'bad_method'
            when status in (301, 308) then 'moved_permanently'
            when status not between 200 and 399 then 'error_status'
        end as reason
    from found
    """


def _id(text: str) -> str:
    return f"try_cast('0x' || {text} as bigint)"


def _decoded(text: str) -> str:
    """Percent-decoded; as written where that gives no valid text."""
    return f"coalesce(try(url_decode({text})), {text})"


def _unescaped(field: str) -> str:
    r"""The text that a quoted field stands for: \" and \\ (Apache), \xHH (both). Control characters stay escaped."""
    percent = rf"replace({field}, '%', '%25')"
    bytes_ = rf"regexp_replace({percent}, '\\x([2-689A-Fa-f][0-9A-Fa-f]|7[0-9A-Ea-e])', '%\1', 'g')"
    plain = rf"case when contains({field}, '\x') then coalesce(try(url_decode({bytes_})), {field}) else {field} end"
    return rf"""replace(replace({plain}, {_QUOTE}, '"'), {_BACKSLASH}, '\')"""


def _cookies(appended: str) -> str:
    """The appended fields as ;name=value;name=value; also where a server logged the whole header percent-encoded."""
    # A cookie of another name may hold what looks like one of ours: it has its = in front.
    whole = ";[^;=]*(?:uuid230|nlid|acoptout)%3[Dd]"
    return (
        f"case when regexp_matches({appended}, '{whole}')"
        f" then replace({_decoded(appended)}, '; ', ';') else {appended} end"
    )


def _cookie(name: str) -> str:
    return f"split_part(split_part(cookies, ';{name}=', 2), ';', 1)"


def _parameter(name: str) -> str:
    return f"split_part(split_part(web_query, '&{name}=', 2), '&', 1)"
