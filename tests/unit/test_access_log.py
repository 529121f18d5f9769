"""The access-log format, line by line: variants, manglings and refusals, with values typed in from the domain page."""

import hashlib
from datetime import datetime, timedelta, timezone
from functools import cache

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from log_ingest.formats.access_log import AccessLog
from log_ingest.formats.line_format import ParseSettings
from tests.accesslines import hit, request
from tests.loglines import BROWSER, VISITOR

MESSAGE, DELIVERY, URL = 0x787BC0, 0x281A4D8, 0x281A4DA
IDS = {"hit_kind": "message", "message_id": MESSAGE, "delivery_id": DELIVERY, "url_id": URL, "content_kind": "h"}
ARRIVED = ParseSettings(datetime(2024, 6, 1))


def read(*lines: str, name: str = "access_logs/shop/access.log") -> list[dict]:
    """What becomes of each line: its landed row, or disposition and reason."""
    con = duckdb.connect()
    con.execute("set TimeZone = 'UTC'")
    numbers = list(range(len(lines)))
    table = pa.table(
        {
            "row": numbers,
            "line": list(lines),
            "line_number": numbers,
            "byte_offset": numbers,
            "terminator": pa.array([1] * len(lines), pa.int8()),
            "file_id": [1] * len(lines),
            "source_file": [name] * len(lines),
        }
    )
    con.register("lines", table)
    access_log = AccessLog()
    accepted = con.sql(access_log.accepted_sql("lines", ARRIVED)).to_arrow_table().to_pylist()
    found = {row["line_number"]: row for row in accepted}
    con.register("rest", table.filter(pa.array([number not in found for number in numbers])))
    aside = con.sql(access_log.set_aside_sql("rest", ARRIVED)).to_arrow_table().to_pylist()
    assert len(accepted) + len(aside) == len(lines)
    found |= {row["row"]: row for row in aside}
    return [found[number] for number in numbers]


@cache
def all_of(lines: tuple[str, ...]) -> dict[str, dict]:
    """What becomes of the lines of a table: read once, for binding the statement takes longer than reading."""
    return dict(zip(lines, read(*lines), strict=True))


TARGET = "/r/?id=h787bc0,281a4d8,281a4da&p1=1"

VARIANTS = {
    "combined": (request(TARGET), {"user_agent": BROWSER, "ip": "52.46.20.64", "status": 302, "method": "GET"}),
    "common": (request(TARGET, common=True), {"user_agent": ""}),
    "no protocol": (request(TARGET, protocol=""), {}),
    "HTTP/2": (request(TARGET, protocol=" HTTP/2.0"), {}),
    "HTTP/3": (request(TARGET, protocol=" HTTP/3"), {}),
    "bytes absent": (request(TARGET, size="-"), {}),
    "vhost with port": (request(TARGET, vhost="t.example.com:443 "), {"ip": "52.46.20.64"}),
    "vhost without port": (request(TARGET, vhost="t.example.com "), {"ip": "52.46.20.64"}),
    "vhost before a resolved name": (
        request(TARGET, vhost="t.example.com:80 ", ip="host.example.net"),
        {"ip": "host.example.net"},
    ),
    "vhost of an IPv6 address": (request(TARGET, vhost="[2001:db8::1]:80 ", ip="::1"), {"ip": "::1"}),
    "IPv6": (request(TARGET, ip="2001:db8::8a2e:370:7334"), {"ip": "2001:db8::8a2e:370:7334"}),
    "IPv4 in IPv6": (request(TARGET, ip="::ffff:10.0.0.1"), {"ip": "::ffff:10.0.0.1"}),
    "resolved name": (request(TARGET, ip="host.example.net"), {"ip": "host.example.net"}),
    "chain of proxies as the address": (request(TARGET, ip="1.2.3.4, 10.0.0.1"), {"ip": "1.2.3.4"}),
    "user": (request(TARGET, user="joe"), {"ip": "52.46.20.64"}),
    "user with a space": (request(TARGET, user="joe doe"), {"ip": "52.46.20.64"}),
    "empty user (Apache)": (request(TARGET, user='""'), {"ip": "52.46.20.64"}),
    "forwarded for": (
        request(TARGET, appended=' "10.1.1.1, 2001:db8::1"'),
        {"forwarded_for": "10.1.1.1, 2001:db8::1", "ip": "52.46.20.64"},
    ),
    "forwarded for absent": (request(TARGET, appended=' "-"'), {"forwarded_for": None, "visitor_id": None}),
    "cookie": (request(TARGET, appended=f' "a=b; uuid230={VISITOR}; c=d"'), {"visitor_id": VISITOR}),
    "forwarded for and cookie": (
        request(TARGET, appended=f' "10.1.1.1" "uuid230={VISITOR}"'),
        {"forwarded_for": "10.1.1.1", "visitor_id": VISITOR},
    ),
    "cookie and forwarded for": (
        request(TARGET, appended=f' "uuid230={VISITOR}" "10.1.1.1"'),
        {"forwarded_for": "10.1.1.1", "visitor_id": VISITOR},
    ),
    "cookie as it was set": (
        request(TARGET, appended=f' "-" "uuid230={VISITOR}; Path=/; Max-Age=31536000"'),
        {"visitor_id": VISITOR},
    ),
    "cookie of the request before the one set": (
        request(TARGET, appended=f' "uuid230={VISITOR}" "uuid230=another; Path=/"'),
        {"visitor_id": VISITOR},
    ),
    "bare cookie": (request(TARGET, appended=f" uuid230={VISITOR}"), {"visitor_id": VISITOR}),
    "cookie percent-encoded as a whole": (
        request(TARGET, appended=f' "a%3Db%3B%20uuid230%3D{VISITOR}"'),
        {"visitor_id": VISITOR},
    ),
    "another cookie that ends alike": (request(TARGET, appended=' "my_uuid230=x"'), {"visitor_id": None}),
    "a visitor that is no id": (request(TARGET, appended=' "uuid230=a b<c>"'), {"visitor_id": None}),
    "a cookie in the user agent is none": (request(TARGET, agent="x; uuid230=abc; y"), {"visitor_id": None}),
    "microseconds behind": (request(TARGET, appended=" 1234"), {"forwarded_for": None, "user_agent": BROWSER}),
    "seconds behind, then cookie": (
        request(TARGET, appended=f' 0.012 "uuid230={VISITOR}"'),
        {"forwarded_for": None, "visitor_id": VISITOR},
    ),
    "user agent absent": (request(TARGET, agent="-"), {"user_agent": ""}),
    "user agent with quotes (Apache)": (request(TARGET, agent=r"a \"b\" c"), {"user_agent": 'a "b" c'}),
    "user agent with a backslash (Apache)": (request(TARGET, agent=r"a\\"), {"user_agent": "a\\"}),
    "a backslash before x41 (Apache)": (request(TARGET, agent=r"a\\x41"), {"user_agent": r"a\x41"}),
    "user agent with quotes (nginx)": (request(TARGET, agent=r"a \x22b\x5C \x41%41"), {"user_agent": 'a "b\\ A%41'}),
    "user agent in UTF-8": (request(TARGET, agent=r"caf\xC3\xA9 é"), {"user_agent": "café é"}),
    "user agent that is no UTF-8": (request(TARGET, agent=r"caf\xE9"), {"user_agent": r"caf\xE9"}),
    "no line is forged": (request(TARGET, agent=r"a\x0Ab\x00c\x7Fd"), {"user_agent": r"a\x0Ab\x00c\x7Fd"}),
    "referrer with a quote": (request(TARGET, referrer=r"https://x/\"y"), {"user_agent": BROWSER}),
    "through a proxy": (request("https://t.example.com" + TARGET), {}),
    "HEAD": (request(TARGET, method="HEAD"), {"method": "HEAD"}),
    "one-click unsubscribe": (request(TARGET, method="POST"), {"method": "POST"}),
    "pixel": (request(TARGET, status=200, size=43), {"status": 200}),
    "pixel known to the browser": (request(TARGET, status=304), {"status": 304}),
    "offset": (request(TARGET, at="01/May/2024:10:00:00 +0530"), {"occurred_at": datetime(2024, 5, 1, 4, 30)}),
    "offset to the west": (
        request(TARGET, at="31/Dec/2023:23:00:00 -0330"),
        {"occurred_at": datetime(2024, 1, 1, 2, 30)},
    ),
    "fraction of a second": (
        request(TARGET, at="01/May/2024:10:00:00.123456 +0000"),
        {"occurred_at": datetime(2024, 5, 1, 10, 0, 0, 123456)},
    ),
    "far past": (request(TARGET, at="01/Jan/1970:00:00:01 +0000"), {"time_flag": "far_past"}),
    "far future": (request(TARGET, at="01/Jan/2034:00:00:01 +0000"), {"time_flag": "far_future"}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_gives_the_same_hit(name: str) -> None:
    line, further = VARIANTS[name]
    found = all_of(tuple(line for line, _ in VARIANTS.values()))[line]
    expected = IDS | {"params": "p1=1", "line": line, "site": "shop"} | further
    assert {key: found.get(key) for key in expected} == expected
    assert found["event_key"] == hashlib.md5(line.encode()).hexdigest()


MANGLED = {
    "/r/?id=h787bc0,281a4d8,281a4da;p1=1": "p1=1",
    "/r/?id=h787bc0,281a4d8,281a4da;p1=1;p2=2": "p1=1&p2=2",
    "/r/?id=h787bc0,281a4d8,281a4da&amp;p1=1": "p1=1",
    "/r/?id=h787bc0,281a4d8,281a4da&amp;p1=1&amp;p2=2": "p1=1&p2=2",
    "/r/?id=h787bc0,281a4d8,281a4da&p1=a;b": "p1=a;b",
    "/r/?id=h787bc0,281a4d8,281a4da%26p1%3D1": "p1%3D1",
    "/r/?id=h787bc0,281a4d8,281a4da%26amp%3Bp1%3D1": "p1%3D1",
    "/r/?id=h787bc0,281a4d8,281a4da&p1=a%2Cb%26c": "p1=a%2Cb%26c",
    "/r/ id=h787bc0,281a4d8,281a4da": None,
    "/r/%20id=h787bc0,281a4d8,281a4da": None,
    "/r/+id=h787bc0,281a4d8,281a4da": None,
    "/r/%3Fid=h787bc0,281a4d8,281a4da": None,
    "/r/%3fid%3dh787bc0%2c281a4d8%2c281a4da": None,
    "/r/?id=h787bc0%2C281a4d8%2C281a4da": None,
    "/r/?id=h787bc0%252C281a4d8%252c281a4da": None,
    "/r/?id=h787bc0%25252C281a4d8,281a4da": None,
    "/r/%253Fid%253Dh787bc0%252C281a4d8%252C281a4da": None,
    "/r/?id=h787BC0,281A4D8,281A4DA": None,
    "/r/?ID=h787BC0,281A4D8,281A4DA&p1=X": "p1=X",
    "/r/?id=h00787bc0,0281a4d8,000000000281a4da": None,
    "/r/?id=h787bc0,281a4d8,281a4da&tagid=home": "tagid=home",
}


@pytest.mark.parametrize("target", MANGLED)
def test_an_unambiguous_mangling_is_undone(target: str) -> None:
    found = all_of(tuple(map(request, MANGLED)))[request(target)]
    expected = IDS | {"params": MANGLED[target]}
    assert {key: found.get(key) for key in expected} == expected


def test_content_kinds_and_ids() -> None:
    rows = read(
        request("/r/?id=t1,2,1"), request("/r/?id=Sffffffff,FFFFFFFE,7fffffffffffffff"), request("/r/?id=aa0,b0,c0")
    )
    assert [(row["content_kind"], row["message_id"], row["delivery_id"], row["url_id"]) for row in rows] == [
        ("t", 1, 2, 1),
        ("S", 4294967295, 4294967294, 2**63 - 1),
        ("a", 0xA0, 0xB0, 0xC0),
    ]


WEB = {
    "/r/9862?tagid=home": {"tag": "home", "params": "tagid=home"},
    "/r/0.73?tagid=home": {"tag": "home"},
    "/r/?tagid=home": {"tag": "home"},
    "/r/9862?a=1&tagid=home&rcpid=email%3Dx%40y.z": {"tag": "home", "params": "a=1&tagid=home&rcpid=email%3Dx%40y.z"},
    "/r/9862?tagid=order%7Ct%7Cshop&amount=12.5&article=2": {
        "tag": "order|t|shop",
        "params": "tagid=order%7Ct%7Cshop&amount=12.5&article=2",
    },
    "/r/9862?tagid=order|w|shop": {"tag": "order|w|shop"},
    "/r/9862?tagid=caf%C3%A9%20bar": {"tag": "café bar"},
    "/r/9862?tagid=caf%E9": {"tag": "caf%E9"},
    "/r/9862?tagid=home&jobid=281A4D8": {"tag": "home", "forced_delivery_id": 0x281A4D8},
    "/r/9862?tagid=home&jobid=": {"forced_delivery_id": None},
    "/r/9862?tagid=home&jobid=0": {"forced_delivery_id": None},
    "/r/9862?tagid=home&tagid=other": {"tag": "home"},
    "/r/9862?xtagid=no&tagid=home": {"tag": "home"},
    "/r/9862?tagid=home;amount=3": {"tag": "home", "params": "tagid=home&amount=3"},
    "/r/9862?tagid=home&amp;amount=3": {"tag": "home", "params": "tagid=home&amount=3"},
    "/r/9862?tagid=home&own=a;b": {"tag": "home", "params": "tagid=home&own=a;b"},
    "/r/9862 tagid=home": {"tag": "home"},
    "/r/9862%3Ftagid=home": {"tag": "home"},
    "/r/9862%3Ftagid%3Dhome%26amount%3D3": {"tag": "home", "params": "tagid=home&amount=3"},
    "/r/9862%253Ftagid%253Dhome": {"tag": "home"},
}


def web(target: str) -> str:
    return request(target, status=200, appended=' "-"')


@pytest.mark.parametrize("target", WEB)
def test_web_hits(target: str) -> None:
    found = all_of(tuple(map(web, WEB)))[web(target)]
    expected = {
        "hit_kind": "web", "message_id": 0, "delivery_id": 0, "url_id": 0, "content_kind": None, "has_session": False,
        "is_opted_out": False, "visitor_id": None,
    } | WEB[target]  # fmt: skip
    assert {key: found.get(key) for key in expected} == expected


SESSION = {"has_session": True, "message_id": MESSAGE, "delivery_id": DELIVERY}
NO_SESSION = {"has_session": False, "message_id": 0, "delivery_id": 0}


COOKIES = {
    f"nlid=787bc0|281a4d8; uuid230={VISITOR}": SESSION | {"visitor_id": VISITOR, "is_opted_out": False},
    "nlid=787BC0%7C281A4D8": SESSION,
    f"a=1;nlid=787bc0|281a4d8;b=2;uuid230={VISITOR};acoptout=1": SESSION | {"is_opted_out": True},
    "nlid%3D787bc0%7C281a4d8%3B%20acoptout%3D1": SESSION | {"is_opted_out": True},
    "acoptout=0": NO_SESSION | {"is_opted_out": False},
    "xacoptout=1": NO_SESSION | {"is_opted_out": False},
    "nlid=": NO_SESSION,
    "nlid=-": NO_SESSION,
    "nlid=787bc0": NO_SESSION,
    "nlid=1_0|2": NO_SESSION,
    "nlid=ffffffffffffffff|1": NO_SESSION,
    "other=x%3B nlid%3D1|2; a=nlid%3D1|2": NO_SESSION,
}


def with_cookies(cookies: str) -> str:
    return request("/r/1?tagid=home", status=200, appended=f' "{cookies}"')


@pytest.mark.parametrize("cookies", COOKIES)
def test_cookies_of_a_web_hit(cookies: str) -> None:
    found, expected = all_of(tuple(map(with_cookies, COOKIES)))[with_cookies(cookies)], COOKIES[cookies]
    assert {key: found[key] for key in expected} == expected


QUARANTINED = {
    "/r/": "missing_id",
    "/r/?": "missing_id",
    "/r/?p1=1&id=h1,2,3": "missing_id",
    "/r/?id=": "bad_id",
    "/r/?id=h787bc0,281a4d8": "bad_id",
    "/r/?id=787bc0,281a4d8,281a4da": "bad_id",
    "/r/?id=h787bc0,281a4d8,281a4da,5": "bad_id",
    "/r/?id=h787bc0,281a4d8,281a4dag": "bad_id",
    "/r/?id=h1_0,281a4d8,1": "bad_id",
    "/r/?id=h+1,2,1": "bad_id",
    "/r/?id=h,2,1": "bad_id",
    "/r/?id=h787bc0;281a4d8;281a4da": "bad_id",
    f"/r/?id=h{'0' * 17},2,1": "bad_id",
    f"/r/?id=h1,{'f' * 16},1": "id_out_of_range",
    "/r/9862": "missing_tagid",
    "/r/9862?tag=home": "missing_tagid",
    "/r/9862?id=h787bc0,281a4d8,281a4da": "missing_tagid",
    "/r/9862?tagid=": "missing_tagid",
    "/r/9862?tagid=a%0Ab": "bad_tagid",
    "/r/9862?tagid=home&jobid=xyz": "bad_jobid",
    "/r/9862?tagid=home&jobid=" + "f" * 16: "id_out_of_range",
}


@pytest.mark.parametrize("target", QUARANTINED)
def test_a_broken_hit_is_quarantined_with_its_reason(target: str) -> None:
    found = all_of(tuple(map(request, QUARANTINED)))[request(target)]
    assert (found["disposition"], found["reason"]) == ("quarantined", QUARANTINED[target])
    assert found["detail"]


REFUSED = {
    request(TARGET, status=404): "error_status",
    request(TARGET, status=500): "error_status",
    request(TARGET, status=499): "error_status",
    request(TARGET, status=301): "moved_permanently",
    request(TARGET, method="OPTIONS"): "bad_method",
    request("/r/1?tagid=home", method="POST", status=200): "bad_method",
    request(TARGET, at="31/Feb/2024:10:00:00 +0000"): "bad_time",
    request(TARGET, at="01/May/2024:25:00:00 +0000"): "bad_time",
    request(TARGET, at="01/Mai/2024:10:00:00 +0000"): "bad_time",
    request(TARGET, at="2024-05-01 10:00:00"): "not_a_log_line",
    request(TARGET, status="abc"): "not_a_log_line",
    request(TARGET)[:60]: "not_a_log_line",
    request(TARGET) + ' "open': "not_a_log_line",
    "not /r/ a log line": "not_a_log_line",
    "not a log line": "not_a_log_line",
    '{"request": "GET /x"}': "not_a_log_line",
    "2024/05/01 10:00:00 [error] 7#7: *1 open() failed": "not_a_log_line",
    request("/x", at="2024-05-01 10:00:00"): "not_a_log_line",
    "#Fields: date time c-ip": "not_a_log_line",
}


@pytest.mark.parametrize("line", REFUSED)
def test_other_reasons(line: str) -> None:
    found = all_of(tuple(REFUSED))[line]
    assert (found["disposition"], found["reason"]) == ("quarantined", REFUSED[line])


OTHERS = (
    request("/"),
    request("/favicon.ico", status=404),
    request("/images/a.png", referrer="https://t.example.com/r/?id=h787bc0,281a4d8,281a4da"),
    request("/search?q=/r/?id=h787bc0,281a4d8,281a4da"),
    request("/r/test", status=200),
    request("/r/robots.txt", status=404),
    request("/x", agent="/r/?id=h1,2,3"),
    request("/x", method="PUT", status=500),
    request("/x", common=True),
    '1.2.3.4 - - [01/May/2024:10:00:00 +0000] "" 400 0 "-" "-"',
    '1.2.3.4 - - [01/May/2024:10:00:00 +0000] "-" 408 - "-" "-"',
    r'1.2.3.4 - - [01/May/2024:10:00:00 +0000] "\x16\x03\x01" 400 150 "-" "-"',
    r'::1 - - [01/May/2024:10:00:00 +0000] "GET /\"x HTTP/1.1" 200 150 "-" "-"',
)


@pytest.mark.parametrize("line", OTHERS)
def test_other_requests_are_no_tracking_requests(line: str) -> None:
    assert all_of(OTHERS)[line]["disposition"] == "not_tracking"


def test_a_file_that_lies_in_no_site_has_none() -> None:
    assert read(hit(), name="access_logs/access.log")[0]["site"] is None
    assert read(hit(), name="access_logs/shop/2024/access.log")[0]["site"] == "shop"


def test_drift() -> None:
    access_log = AccessLog()
    strange = [b'{"request": "GET / HTTP/1.1"}'] * 30
    assert access_log.drift(strange)
    assert not access_log.drift(strange[:5]), "too few to tell"
    assert not access_log.drift([request("/").encode()] * 25 + strange[:5])


# -- Whatever a hit is, and however its query is mangled, its ids come back.

_ids = st.integers(min_value=0, max_value=2**63 - 1)
_safe = st.text("abcxyzABC0189-._~", max_size=8)
_params = st.lists(st.tuples(st.sampled_from(["p1", "p2", "utm_source"]), _safe), max_size=3)
_escape = st.integers(min_value=0, max_value=3)


def escaped(character: str, times: int) -> str:
    if times == 0:
        return character
    return "%" + "25" * (times - 1) + f"{ord(character):02X}"


@st.composite
def manglings(draw: st.DrawFn) -> tuple[str, str]:
    """The begin and the comma as a gateway may leave them, and what it puts for &."""
    begin = draw(st.sampled_from(["?", " ", "+", "%20", "%3F", "%253F", "%3f", "%2520"]))
    return begin + "id" + escaped("=", draw(_escape)), draw(st.sampled_from(["&", ";", "&amp;"]))


@settings(max_examples=25, deadline=None)
@given(
    hits=st.lists(
        st.tuples(
            st.sampled_from("htsail"), _ids, _ids, _ids, _params, manglings(), _escape, _escape, st.booleans(),
            st.datetimes(datetime(2001, 1, 1), datetime(2024, 5, 30)), st.integers(-840, 840),
        ),
        min_size=1,
        max_size=20,
    )
)  # fmt: skip
def test_the_ids_of_a_mangled_hit_come_back(hits: list) -> None:
    lines, expected = [], []
    for kind, message, delivery, url, params, (begin, separator), first, second, is_upper, at, offset in hits:
        ids = [f"{value:X}" if is_upper else f"{value:x}" for value in (message, delivery, url)]
        query = begin + kind + ids[0] + escaped(",", first) + ids[1] + escaped(",", second) + ids[2]
        query += "".join(f"{separator}{name}={value}" for name, value in params)
        local = at.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=offset)))
        lines.append(request("/r/" + query, at=local.strftime("%d/%b/%Y:%H:%M:%S %z")))
        written = "&".join(f"{name}={value}" for name, value in params) or None
        utc = at.replace(microsecond=0) - timedelta(minutes=offset)
        expected.append((kind, message, delivery, url, written, utc))
    found = [
        tuple(row.get(key) for key in ("content_kind", "message_id", "delivery_id", "url_id", "params", "occurred_at"))
        for row in read(*lines)
    ]
    assert found == expected


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"])), min_size=1, max_size=20), st.integers(0, 99))
def test_any_text_has_one_disposition(texts: list[str], cut: int) -> None:
    broken = [request(TARGET)[: 2 * cut] + text for text in texts] + [request("/r/" + text) for text in texts]
    for found, line in zip(read(*texts, *broken), [*texts, *broken], strict=True):
        assert found.get("line") == line or found["disposition"] in ("quarantined", "not_tracking")
