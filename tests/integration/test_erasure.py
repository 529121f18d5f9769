"""Erasing a recipient from landed rows, and who comes again: nothing of them is left, nothing of others is touched.

The whole way to the published version is in test_privacy.
"""

import gzip
import json
import os
import shutil
import stat
from pathlib import Path

import duckdb
import pytest

from log_ingest.erasure import MachineSigns, erase, kept_parameters, told_of_agent
from log_ingest.errors import IngestError, StorageError
from log_ingest.ingest import LEDGER_NAME, ingest
from log_ingest.landed_places import FolderPlace
from log_ingest.ledger import Ledger
from log_ingest.status import collect
from log_ingest.subject_export import export
from log_ingest.suppression import KEY_NAME, Key
from tests.accesslines import access_log, hit, request
from tests.espevents import jsonl, sendgrid
from tests.invariants import assert_accounted, assert_rerun_changes_nothing, landed, query
from tests.loglines import line, logs
from tests.ownbytes import places_of
from tests.robin import (
    DELIVERY,
    HER_ADDRESS,
    HER_AGENT,
    HER_IP,
    HER_OLD_ADDRESS,
    HER_VISITOR,
    HERS,
    NOON,
    OTHER_DELIVERY,
    QUINN,
    QUINNS,
    QUINNS_VISITOR,
    ROBIN,
    ROBINS,
    ROBINS_SECOND,
    SAM,
    SAMS,
    SHARED_VISITOR,
    her_lines,
    messages,
    others_lines,
    recipients,
    reference,
    refused_lines,
    write_all,
)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A landing folder and a warehouse that holds all of it; copied for each test."""
    folder = tmp_path_factory.mktemp("story")
    write_all(folder / "landing")
    report = ingest(folder / "landing", folder / "warehouse", run_id="first")
    assert report.problems == []
    assert places_of(folder / "warehouse", {"Robinetta"}), "the search finds what is there"
    return folder


@pytest.fixture
def landing(story: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(story / "landing", tmp_path / "landing"))


@pytest.fixture
def taken(story: Path, landing: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(story / "warehouse", tmp_path / "warehouse"))


def rows_of(warehouse: Path, source: str, where: str) -> list[tuple]:
    return query(f"select * from {landed(warehouse, source)} where {where} order by all")


OTHERS = {
    "tracking_logs": f"message_id in ({QUINNS}, {SAMS})",
    "access_logs": f"message_id = {SAMS}",
    "esp_events": f"message_id = {SAMS}",
    "recipients": f"recipient_id in ({QUINN}, {SAM})",
    "messages": f"recipient_id in ({QUINN}, {SAM})",
    "subscriptions": f"recipient_id = {QUINN}",
    "consents": f"recipient_id = {QUINN}",
    "set_aside": "decode(raw) like '%7a003001%' or decode(raw) like '%192.0.2.9%'",
}


def totals(warehouse: Path) -> dict[str, dict[str, int]]:
    return {status.source: vars(status) for status in collect(warehouse).sources}


def test_nothing_of_her_is_left_and_nothing_of_others_is_touched(taken: Path, landing: Path) -> None:
    before = {source: rows_of(taken, source, where) for source, where in OTHERS.items()}
    assert all(before.values())
    totals_before, gaps = totals(taken), collect(taken).gaps
    report = erase(taken, [ROBIN], run_id="erasure", words=MachineSigns(parts=("GoogleImageProxy",)))
    assert places_of(taken, HERS) == []
    assert {source: rows_of(taken, source, where) for source, where in OTHERS.items()} == before
    assert (totals(taken), collect(taken).gaps) == (totals_before, gaps)
    assert_accounted(taken)
    assert_rerun_changes_nothing(landing, taken)
    # Counted by hand from write_all: her five lines and the duplicate and refused ones; the hit, the one that mentions
    # her and the image; the open and the bounce.
    assert report.counts == {
        **{"tracking_logs": 5, "access_logs": 2, "esp_events": 2, "recipients": 1, "messages": 2, "subscriptions": 1},
        **{"consents": 1, "set_aside": 4},
    }
    assert report.files == [
        *("access_logs/web/access.log", "esp_events/sendgrid/a.jsonl", "reference/consents/extract.csv"),
        "reference/messages/extract.csv",
        *("reference/recipients/extract.csv", "reference/subscriptions/extract.csv", "tracking_logs/redir5/0x1.log"),
    ]


def test_what_is_counted_stays(taken: Path) -> None:
    """Equal ids before are equal ids after, in every source; what tells nobody is as it was."""
    lines, hits = landed(taken, "tracking_logs"), landed(taken, "access_logs")
    shape = (
        "select count(*), count(distinct message_id), count(distinct visitor_id), count(distinct delivery_id),"
        f" sum(url_id), min(occurred_at) from {lines}",
        f"select device_class, os_name, browser_name, count(*) from {lines} join {landed(taken, 'user_agents')}"
        " using (user_agent) group by all order by all",
        # Her visitor in both logs; her message in three sources, and in the reference rows.
        f"select count(distinct visitor_id) from (select visitor_id from {lines} union all select visitor_id from"
        f" {hits})",
        f"select count(*) from {lines} as lines join {landed(taken, 'messages')} using (message_id, delivery_id)",
        f"select count(*) from {landed(taken, 'esp_events')} join {landed(taken, 'messages')} using (message_id)",
        f"select count(*) from {landed(taken, 'messages')} join {landed(taken, 'recipients')} using (recipient_id)",
        f"select split_part(address, '@', 2), count(*) from {landed(taken, 'messages')} group by 1 order by 1",
        f"select action, count(distinct recipient_id) from {landed(taken, 'subscriptions')} group by 1",
        f"select purpose, withdrawn_at, count(*) from {landed(taken, 'consents')} join {landed(taken, 'messages')}"
        " using (recipient_id) group by all",
        f"select bounce_kind, count(*), count(*) filter (bounce_text like '%mailbox full%') from"
        f" {landed(taken, 'esp_events')} group by 1 order by 1",
        f"select regexp_extract(params, 'amount=([0-9]+)', 1) as amount, count(*) from {lines} group by 1 order by 1",
    )
    before = [query(sql) for sql in shape]
    erase(taken, [ROBIN], run_id="erasure")
    assert [query(sql) for sql in shape] == before
    # Her bounce has an address of nobody, the same as her message's: the models still find the one by the other.
    assert query(
        f"select count(*) from {landed(taken, 'esp_events')} as e join {landed(taken, 'messages')} as m"
        " on lower(e.address) = lower(m.address) where event_kind = 'bounce'"
    ) == [(1,)]
    # Somebody else's cookie stays, and the page names the one who stands for her.
    found = query(f"select visitor_id, params from {lines} where params ilike '%rcpid%'")
    (nobody,) = query(f"select recipient_id from {landed(taken, 'recipients')} where email is null")
    assert found == [(QUINNS_VISITOR, f"tagid=home&rcpid=recipient_id={nobody[0]}")]
    assert 2**52 <= nobody[0] < 2**53
    assert query(f"select distinct visitor_id from {lines} where visitor_id = '{SHARED_VISITOR}'")


def test_whoever_comes_again_is_suppressed_and_counted(taken: Path, landing: Path) -> None:
    erase(taken, [ROBIN], run_id="erasure")
    before = {source: rows_of(taken, source, "true") for source in ("tracking_logs", "access_logs", "recipients")}
    counted = totals(taken)
    # The same content, packed and renamed: a copy, of which nothing is read.
    packed = landing / "tracking_logs/redir5/again.log.gz"
    packed.write_bytes(gzip.compress((landing / "tracking_logs/redir5/0x1.log").read_bytes()))
    ingest(landing, taken, run_id="copy")
    assert totals(taken)["tracking_logs"] == {**counted["tracking_logs"], "copies": 1}
    # Other contents with the same lines, and a new event of an old message.
    new = line(12, message=ROBINS, delivery=DELIVERY, url=5, at="2024-05-02T10:00:00.00", visitor=QUINNS_VISITOR)
    logs(landing, "redir5/split.log", *her_lines(), new, *others_lines()[:2], *refused_lines()[:1])
    access_log(
        landing,
        "web/old.log",
        hit(ROBINS, DELIVERY, 5, ip=HER_IP, agent=HER_AGENT, appended=f' "-" "uuid230={HER_VISITOR}"'),
        request("/logo.png", ip=HER_IP, status=200),
        hit(SAMS, OTHER_DELIVERY, 1),
    )
    jsonl(
        landing,
        "sendgrid/again.jsonl",
        [
            sendgrid("open", NOON, HER_ADDRESS, message_id=str(ROBINS), sg_event_id="sg-robin-2", ip=HER_IP),
            sendgrid("open", NOON + 9, "quinn@home.example", message_id=str(QUINNS)),
        ],
        sendgrid("bounce", NOON + 7, HER_OLD_ADDRESS),
    )
    reference(landing, "recipients", recipients()[::-1], "full2.csv")
    reference(landing, "messages", messages((0x7A00_1009, DELIVERY, ROBIN, HER_ADDRESS)), "full2.csv")
    report = ingest(landing, taken, run_id="again")
    assert places_of(taken, HERS | {str(0x7A00_1009)}) == []
    suppressed = {source: total.suppressed for source, total in report.totals.items() if total.suppressed}
    assert suppressed == {
        # Five and the new one, and the refused one; the hit and the image; the bounce (the array keeps Quinn's event).
        **{"tracking_logs": 7, "access_logs": 2, "esp_events": 1},
        **{"recipients": 2, "messages": 3},
    }
    assert report.totals["tracking_logs"].duplicate == 2
    assert report.totals["esp_events"].accepted == 1
    assert [problem for problem in report.problems if "full2.csv" in problem and "1 messages to erased" in problem]
    assert rows_of(taken, "tracking_logs", "true") == before["tracking_logs"]
    assert rows_of(taken, "access_logs", "true") == before["access_logs"]
    assert len(rows_of(taken, "recipients", "true")) == len(before["recipients"]) + 2
    # What came and is not kept is not missing.
    assert collect(taken).gaps == []
    assert_accounted(taken)
    assert_rerun_changes_nothing(landing, taken)
    # The new message's row was suppressed, and with it what comes of it from now on.
    logs(landing, "redir5/later.log", line(13, message=0x7A00_1009, visitor="0eeeeeee-5555-4555-8555-555555555555"))
    report = ingest(landing, taken, run_id="later")
    assert (report.totals["tracking_logs"].suppressed, report.totals["tracking_logs"].accepted) == (1, 0)


def test_an_older_extract_takes_no_message_away_from_whom_a_newer_one_names(taken: Path, landing: Path) -> None:
    """A message of hers by an older row is Sam's by the newest, before and after she was erased."""

    def extract(name: str, recipient: int, address: str, days: int) -> None:
        reference(landing, "messages", messages((0x7A00_1009, DELIVERY, recipient, address))[-1:], name)
        when = NOON + days * 86_400
        os.utime(landing / "reference/messages" / name, (when, when))

    extract("older.csv", ROBIN, HER_ADDRESS, 1)
    extract("newer.csv", SAM, "sam@home.example", 2)
    logs(landing, "redir5/sams.log", line(12, message=0x7A00_1009, visitor="0eeeeeee-5555-4555-8555-555555555555"))
    ingest(landing, taken, run_id="reassigned")
    erase(taken, [ROBIN], run_id="erasure")
    # The older extract in another cut, the newest in the same file as an older row.
    extract("older-again.csv", ROBIN, HER_OLD_ADDRESS, 0)
    rows = messages((0x7A00_100A, DELIVERY, ROBIN, HER_ADDRESS), (0x7A00_100A, DELIVERY, SAM, "sam@home.example"))[-2:]
    reference(landing, "messages", rows, "both.csv")
    report = ingest(landing, taken, run_id="again")
    assert (report.totals["messages"].suppressed, report.problems) == (2, [])
    late = [line(13 + n, message=message) for n, message in enumerate((0x7A00_1009, 0x7A00_100A))]
    logs(landing, "redir5/late.log", *late)
    report = ingest(landing, taken, run_id="late")
    assert (report.totals["tracking_logs"].accepted, report.totals["tracking_logs"].suppressed) == (2, 0)
    sams = f"message_id in ({0x7A00_1009}, {0x7A00_100A}, {SAMS})"
    before = rows_of(taken, "tracking_logs", sams)
    assert len(before) == 4
    assert erase(taken, [ROBIN], run_id="repeated").erasure is None
    assert rows_of(taken, "tracking_logs", sams) == before


def test_what_suppressed_lines_and_rows_tell_anew_is_recognised(taken: Path, landing: Path) -> None:
    """A new cookie of hers, a new address, a new further field: what comes with nothing else, too."""
    cookie, further_cookie = (f"0eeeeeee-{n}555-4555-8555-555555555555" for n in (5, 6))
    new_address = "robin@locksley.example"
    hers_now = {cookie, further_cookie, new_address, "crm-4799"}

    def page(visitor: str, params: str = "tagid=home") -> str:
        return request(f"/r/1?{params}", appended=f' "-" "uuid230={visitor}"')

    def event(number: int) -> dict[str, object]:
        return sendgrid("bounce", NOON + number, new_address, sg_message_id="m")

    erase(taken, [ROBIN], run_id="erasure")
    # Of her message: her new cookie, and one that Quinn's messages show, too.
    late = [line(12 + n, message=ROBINS, visitor=visitor) for n, visitor in enumerate((cookie, QUINNS_VISITOR))]
    logs(landing, "redir5/late.log", *late)
    # Before the row that tells that it is her: lines are taken in first.
    access_log(
        landing,
        "web/late.log",
        page(cookie),
        page(QUINNS_VISITOR),
        page(further_cookie, "tagid=a&rcpid=crm%3Dcrm-4799"),
    )
    jsonl(landing, "sendgrid/late.jsonl", event(90))
    rows = recipients()[:2]
    rows[0] |= {"email": new_address, "crm": "crm-4799"}
    reference(landing, "recipients", rows, "news.csv")
    report = ingest(landing, taken, run_id="late")
    hits, events = report.totals["access_logs"], report.totals["esp_events"]
    assert (hits.suppressed, hits.accepted, events.accepted) == (1, 2, 1)
    # From now on they are recognised, and what had come before is found.
    access_log(
        landing,
        "web/later.log",
        page(QUINNS_VISITOR, "tagid=b"),
        page("0fffffff-6666-4666-8666-666666666666", "tagid=c&rcpid=crm%3Dcrm-4799"),
    )
    access_log(landing, "web/later-still.log", page("0fffffff-6666-4666-8666-666666666666", "tagid=e"))
    jsonl(landing, "sendgrid/later.jsonl", event(91))
    report = ingest(landing, taken, run_id="later")
    hits, events = report.totals["access_logs"], report.totals["esp_events"]
    assert (hits.suppressed, events.suppressed, events.accepted) == (1, 1, 0)
    access_log(landing, "web/last.log", page("0fffffff-6666-4666-8666-666666666666", "tagid=f"))
    assert ingest(landing, taken, run_id="last").totals["access_logs"].suppressed == 1
    quinns = rows_of(taken, "access_logs", f"visitor_id = '{QUINNS_VISITOR}'")
    assert len(quinns) == 2
    # Somebody else's export has nothing of it.
    assert not [word for word in hers_now if word in json.dumps(export(taken, QUINN))]
    again = erase(taken, [ROBIN], run_id="repeated")
    assert {name: count for name, count in again.counts.items() if count} == {"access_logs": 2, "esp_events": 1}
    assert places_of(taken, HERS | hers_now) == []
    assert rows_of(taken, "access_logs", f"visitor_id = '{QUINNS_VISITOR}'") == quinns
    assert_accounted(taken)
    assert_rerun_changes_nothing(landing, taken)


def test_a_visitor_shared_with_somebody_goes_with_the_last_of_them(taken: Path) -> None:
    erase(taken, [ROBIN], run_id="one")
    assert places_of(taken, {SHARED_VISITOR, QUINNS_VISITOR})
    erase(taken, [QUINN], run_id="two")
    assert (
        places_of(taken, HERS | {SHARED_VISITOR, QUINNS_VISITOR, "quinn@home.example", str(QUINNS), f"{QUINNS:x}"})
        == []
    )
    with Ledger(taken / LEDGER_NAME, read_only=True) as ledger:
        assert [(erasure.run_id, erasure.recipient_count) for erasure in ledger.erasures()] == [("one", 1), ("two", 1)]


def test_erasing_again_changes_nothing_and_an_unknown_id_is_refused(taken: Path) -> None:
    with pytest.raises(IngestError, match="nothing is held of recipient 70009999; check the id"):
        erase(taken, [ROBIN, 70_009_999], run_id="mistyped")
    assert places_of(taken, {"Robinetta"}), "nothing was erased"
    assert not (taken / KEY_NAME).exists()
    dry = erase(taken, [ROBIN], run_id="dry", is_dry=True)
    assert dry.erasure is None and places_of(taken, {"Robinetta"})
    assert erase(taken, [ROBIN], run_id="first").counts == dry.counts
    files = sorted(str(path) for path in taken.rglob("*.parquet"))
    assert erase(taken, [ROBIN], run_id="second").erasure is None
    assert sorted(str(path) for path in taken.rglob("*.parquet")) == files


@pytest.mark.parametrize("is_late", [True, False])
def test_an_erasure_that_fails_says_whether_it_is_recorded(
    taken: Path, monkeypatch: pytest.MonkeyPatch, is_late: bool
) -> None:
    def refuse(*_: object) -> None:
        raise StorageError("s3://b/k", "the store refused the request (SlowDown)")

    # What it replaces is removed when the ledger has the erasure; what replaces it is written before.
    with monkeypatch.context() as failing:
        failing.setattr(FolderPlace, "remove" if is_late else "take", refuse)
        with pytest.raises(IngestError, match="is recorded.* mtw run" if is_late else "changed no landed row"):
            erase(taken, [ROBIN], run_id="erasure")
    with Ledger(taken / LEDGER_NAME) as ledger:
        assert len(ledger.erasures()) == is_late
    erase(taken, [ROBIN], run_id="again")
    assert places_of(taken, HERS) == []


def test_what_rows_of_others_say_of_her_is_replaced(taken: Path, landing: Path) -> None:
    """Whatever field it stands in; what stands for it is equal where it was, so that counts stay."""
    address, escaped = HER_ADDRESS, HER_ADDRESS.replace("@", "%40")
    told = (
        *(f"rcpid=login%3D{escaped}", f"rcpid={escaped}", f"rcpid=email%253D{escaped.replace('%', '%25')}"),
        *(f"rcpid=number%3D{ROBIN}", f"rcpid={ROBIN}", f"article={escaped}", f"article={address}"),
    )
    pages = [f"/r/1?tagid=home&{params}" for params in told]
    pages += [f"/r/1?tagid={address}", f"/r/1?tagid={escaped}%7Cw%7Cfolder", "/r/1?tagid=home&rcpid=crm%3Dcrm-4713"]
    # A number of something else, beside what names her.
    pages += [f"/r/1?tagid=order&amount={ROBIN}&article={address}"]
    agent = f"OthersBot/1.0 ({HER_ADDRESS})"
    access_log(
        landing,
        "web/pages.log",
        *(request(page, appended=f' "-" "uuid230={QUINNS_VISITOR}"') for page in pages),
        hit(SAMS, OTHER_DELIVERY, 1, agent=agent),
    )
    logs(landing, "redir5/agent.log", line(12, message=SAMS, delivery=OTHER_DELIVERY, agent=agent))
    reference(
        landing,
        "tracked_urls",
        [{"url_id": 5, "delivery_id": 0, "url_type": 1, "source_url": f"https://Shop.example/p/{ROBIN}"}],
    )
    said = {"message_id": str(SAMS), "url": "https://shop.example/"}
    clicks = [
        sendgrid("click", NOON + n, "sam@home.example", **{**said, **further})
        for n, further in enumerate(
            (
                {"url": f"https://shop.example/u/{address}?x=1"},
                {"url": f"https://shop.example/v/{escaped}#top"},
                {"url": f"https://shop.example/#{address}"},
                {"url": f"https://shop.example/p/{ROBIN}"},
                {"useragent": agent},
                {"sg_message_id": address},
            ),
            20,
        )
    ]
    jsonl(landing, "sendgrid/clicks.jsonl", *([click] for click in clicks))
    assert ingest(landing, taken, run_id="told").problems == []
    shape = (
        f"select count(*), count(distinct tag), count(distinct visitor_id) from {landed(taken, 'access_logs')}",
        f"select count(distinct user_agent) from {landed(taken, 'access_logs')} where message_id = {SAMS}",
        f"select count(*), count(distinct split_part(split_part(url, '?', 1), '#', 1)), count(distinct user_agent),"
        f" count(distinct provider_message_id) from {landed(taken, 'esp_events')} where message_id = {SAMS}",
        f"select split_part(tag, '|', 2), count(*) from {landed(taken, 'access_logs')} group by 1 order by 1",
        f"select count(distinct regexp_extract(params, 'article=([^&]*)', 1)) > 1 from {landed(taken, 'access_logs')}",
    )
    before = [query(sql) for sql in shape]
    # What stays, because it is about no recipient, is named.
    assert erase(taken, [ROBIN], run_id="erasure").mentions == {"tracked_urls": 1}
    assert [query(sql) for sql in shape] == before
    # A link that everybody gets, and what an order came to, are numbers like hers.
    assert places_of(taken, (HERS - {str(ROBIN)}) | {escaped}) == []
    hits = landed(taken, "access_logs")
    assert query(f"select count(*) from {hits} where params like '%rcpid=0%'") == [(5,)]
    assert query(f"select count(*) from {hits} where params like '%rcpid=crm%3Dcrm-4713'") == [(1,)]
    assert query(f"select count(*) from {hits} where params like '%amount={ROBIN}&article=%'") == [(1,)]
    assert query(f"select distinct regexp_replace(url, '[0-9a-f]{{16}}', '…') from {landed(taken, 'esp_events')}"
                 f" where message_id = {SAMS} and url is not null order by 1") == [
        *(("https://shop.example/",), ("https://shop.example/#…",), (f"https://shop.example/p/{ROBIN}",)),
        *(("https://shop.example/u/…",), ("https://shop.example/v/…#top",)),
    ]  # fmt: skip
    assert len(query(f"select * from {landed(taken, 'user_agents')} where user_agent like 'erased (%'")) >= 2


def test_what_she_is_recognised_by_is_keyed(taken: Path, landing: Path) -> None:
    erase(taken, [ROBIN], run_id="erasure")
    path = taken / KEY_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = Key.load(taken)
    assert key is not None
    with Ledger(taken / LEDGER_NAME, read_only=True) as ledger:
        marks = set(ledger.marks())
    assert key.mark("recipient", str(ROBIN)) in marks
    assert key.mark("address", HER_ADDRESS.lower()) in marks
    assert key.mark("visitor", SHARED_VISITOR) not in marks and key.mark("visitor", HER_VISITOR) in marks
    # Another key, or none: nothing is taken in that could not be recognised.
    path.rename(path.with_suffix(".away"))
    with pytest.raises(IngestError, match=r"erasure\.key is gone; restore it from a backup"):
        ingest(landing, taken, run_id="without")
    Key.make(taken)
    with pytest.raises(IngestError, match="is not the key of"):
        ingest(landing, taken, run_id="other")


def test_bytes_set_aside_are_recognised_however_they_are_escaped(taken: Path, landing: Path) -> None:
    erase(taken, [ROBIN], run_id="erasure")
    access_log(
        landing,
        "web/mangled.log",
        request(f"/r/?id=h{ROBINS:x}%252C{DELIVERY:x}%252C5%252C1"),
        request("/r/?id=&to=robin.hood%40sherwood.example"),
        request(f"/r/?id=h{SAMS:x}%252C{DELIVERY:x}%252C5%252C1"),
    )
    report = ingest(landing, taken, run_id="mangled")
    totals = report.totals["access_logs"]
    assert (totals.lines, totals.suppressed, totals.quarantined) == (3, 2, 1)
    assert places_of(taken, HERS | {"robin.hood%40"}) == []


def test_requests_for_anything_else_that_name_her_are_not_set_aside(taken: Path, landing: Path) -> None:
    erase(taken, [ROBIN], run_id="erasure")
    hers = (
        *(f"/account?e={HER_ADDRESS}", f"/account?e={HER_ADDRESS.replace('@', '%2540')}", f"/account/{ROBIN}"),
        *(f"/x?m={ROBINS:x}", f"/x?m=h{ROBINS:X}", f"/x?m=-{2**32 - ROBINS_SECOND}", f"/x?v={HER_VISITOR}"),
    )
    others = ("/logo.png", "/account?e=sam@home.example", f"/account/{SAM}", f"/x?m={SAMS:x}", "/a%zz", "/x?n=12")
    access_log(landing, "web/further.log", *(request(target, status=200) for target in (*hers, *others)))
    totals = ingest(landing, taken, run_id="further").totals["access_logs"]
    assert (totals.suppressed, totals.not_tracking) == (len(hers), len(others))
    assert places_of(taken, HERS | {"robin.hood%"}) == []
    assert_accounted(taken)


def test_everything_held_of_her_is_exported(taken: Path) -> None:
    found = json.loads(json.dumps(export(taken, ROBIN)))
    assert found["identifiers"]["message_ids"] == [ROBINS, ROBINS_SECOND]
    assert found["identifiers"]["addresses"] == sorted((HER_ADDRESS.lower(), HER_OLD_ADDRESS))
    assert found["identifiers"]["visitor_ids_of_others_too"] == sorted((SHARED_VISITOR, QUINNS_VISITOR))
    assert {source: len(rows) for source, rows in found["events"].items()} == {
        **{"tracking_logs": 5, "access_logs": 2, "esp_events": 2},
    }
    first = found["events"]["tracking_logs"][0]
    assert first["line"] == her_lines()[0].decode().rstrip("\n")
    assert first["provenance"]["source_file"] == "tracking_logs/redir5/0x1.log"
    assert (first["provenance"]["line_number"], first["provenance"]["batch_id"]) == (1, 1)
    (profile,) = found["reference"]["recipients"]
    assert profile["values"]["first_name"] == "Robinetta"
    assert json.loads(profile["values"]["extra"]) == {"crm": "crm-4711"}
    # A line that tells of several people is not handed to one of them.
    assert "quinn@home.example" not in json.dumps(found)
    assert {row["values"]["reason"] for row in found["set_aside"]} >= {"duplicate", "field_count", "bad_id"}
    erase(taken, [ROBIN], run_id="erasure")
    after = export(taken, ROBIN)
    assert after["was_erased"] and not any(
        [*after["events"].values(), *after["reference"].values(), after["set_aside"]]
    )


@pytest.mark.parametrize(
    ("params", "named", "kept"),
    [
        ("tagid=home&name=Robin&amount=3", None, "tagid=home&amount=3"),
        ("p1=Robin", None, ""),
        ("tagid=a&rcpid=email%3Drh%40old.example", 4711, "tagid=a&rcpid=recipient_id=4711"),
        ("tagid=a&rcpid=id%3D7", None, "tagid=a&rcpid=id%3D7"),
        ("tagid=a&rcpid=crm%3D7", 0, "tagid=a&rcpid=0"),
        # Cut by the server at 64 characters: what comes last may lack its end, and is known by the length.
        ("tagid=order&name=Robinetta+Hoodwink+of+Sherwood+Forest&amount=12".ljust(64, "0"), None, None),
        ("tagid=order&amount=12&name=Robinetta+Hoodwink+of+Sherwood+Fores", None, "tagid=order&amount=12"),
    ],
)
def test_parameters(params: str, named: int | None, kept: str | None) -> None:
    found = kept_parameters(params, named)
    if kept is None:
        assert len(params) == len(found) == 64 and found.lstrip("&").startswith("tagid=order&amount=12")
        assert "Robin" not in found
    else:
        assert found == kept


def test_a_user_agent_keeps_what_rules_look_for() -> None:
    words = MachineSigns(parts=("GoogleImageProxy", "Proxy2"), lower_parts=("bot", "android"))
    row = {
        "user_agent": "X/1 (GoogleImageProxy; Secretbot)",
        "device_class": "phone",
        "os_name": "iOS",
        "os_version": "17",
    }
    told = told_of_agent(row, words)
    assert told == "erased (phone; iOS; 17; -; -; -; -; -; -) GoogleImageProxy bot"
    # A name that would match where the user agent did not.
    told = told_of_agent({**row, "user_agent": "X/1", "os_name": "Android"}, words)
    assert words.found(told) == ([], []) and told.startswith("erased ")


def test_what_stands_for_a_user_agent_is_not_parsed_again(taken: Path, landing: Path) -> None:
    erase(taken, [ROBIN], run_id="erasure")
    told = rows_of(taken, "user_agents", "user_agent like 'erased (%'")
    with Ledger(taken / LEDGER_NAME) as ledger:
        ledger.set_fact("user_agents_parser", "another parser")
    ingest(landing, taken, run_id="upgraded")
    assert told and rows_of(taken, "user_agents", "user_agent like 'erased (%'") == told


def test_of_a_mail_proxy_the_network_remains() -> None:
    relay = [
        ("relay", "192.0.2.16", "192.0.2.31"),
        ("relay", "198.51.100.0", "198.51.100.9"),
        ("relay", "2001:db8::", "2001:db8::f"),
    ]
    signs = MachineSigns(networks=(*relay, ("other", "203.0.113.0", "203.0.113.255")))
    asked = ["198.51.100.9", "198.51.100.10", "192.0.2.15", "2001:db8::a", "203.0.113.77", "nothing", ""]
    assert signs.networks_of(asked) == {
        **{"198.51.100.9": "192.0.2.16", "2001:db8::a": "2001:db8::", "203.0.113.77": "203.0.113.0"}
    }


def test_no_erasure_costs_ingest_nothing(landing: Path, warehouse: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of suppression runs where nothing was erased."""
    from log_ingest import suppression

    monkeypatch.setattr(suppression.Suppression, "__init__", None)
    ingest(landing, warehouse, run_id="first")
    assert not (warehouse / KEY_NAME).exists()


def test_duckdb_and_python_agree_on_marks(tmp_path: Path) -> None:
    key = Key.make(tmp_path)
    with duckdb.connect() as con:
        key.define_in(con)
        for value in ("", "4711", "Grüße, 日本", "x" * 500):
            assert con.execute("select mark_of('address', ?)", [value]).fetchall() == [(key.mark("address", value)[1],)]
    assert [path.name for path in tmp_path.iterdir()] == [KEY_NAME]
