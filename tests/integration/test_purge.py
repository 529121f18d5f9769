"""Purging landed rows: what goes, what is counted, who comes again. test_retention has the way to what is published."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from log_ingest.catalog import REFERENCE_ENTITIES
from log_ingest.erasure import PENDING, erase
from log_ingest.formats.csv_records import read_records
from log_ingest.formats.registry import LINE_FORMATS
from log_ingest.frozen import DELIVERY_LOGS, SET_ASIDE, STATISTICS, TRACKING
from log_ingest.ingest import LEDGER_NAME, ingest
from log_ingest.land_reference import RowLander
from log_ingest.landing import Landing
from log_ingest.ledger import Ledger
from log_ingest.retention import PurgeReport
from log_ingest.retention import purge as purge_landed
from log_ingest.status import Status, collect
from tests.accesslines import access_log, hit
from tests.espevents import jsonl, sendgrid
from tests.invariants import assert_accounted, assert_rerun_changes_nothing, landed, query
from tests.loglines import line, logs
from tests.purges import ALL_THAT_WAS_SET_ASIDE, LOGS, due, of_it, write_landing
from tests.robin import (
    DELIVERY,
    HER_OLD_ADDRESS,
    HER_VISITOR,
    NOON,
    OTHER_DELIVERY,
    QUINNS,
    QUINNS_VISITOR,
    ROBIN,
    ROBINS,
    ROBINS_SECOND,
    SAMS,
    her_lines,
    others_lines,
    reference,
)

KEPT = {
    "tracking_logs": f"delivery_id = {OTHER_DELIVERY} or visitor_id = '{QUINNS_VISITOR}' and message_id = 0",
    "access_logs": f"delivery_id = {OTHER_DELIVERY}",
    "esp_events": f"message_id = {SAMS} or event_kind in ('bounce', 'delivered')",
    "messages": "true",
    "set_aside": "true",
}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("purge")
    write_landing(folder / "landing")
    ingest(folder / "landing", folder / "warehouse", run_id="first")
    return folder


@pytest.fixture
def landing(story: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(story / "landing", tmp_path / "landing"))


@pytest.fixture
def taken(story: Path, landing: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(story / "warehouse", tmp_path / "warehouse"))


def purge(warehouse: Path, *kinds: str, is_dry: bool = False, **more: Any) -> PurgeReport:
    database = warehouse.with_suffix(".duckdb")
    database.unlink(missing_ok=True)
    return purge_landed(warehouse, due(warehouse, database, *kinds, **more), run_id="purge", is_dry=is_dry)


def kept(warehouse: Path) -> dict[str, list[tuple]]:
    return {
        source: query(f"select * exclude (batch_id) from {landed(warehouse, source)} where {where} order by all")
        for source, where in KEPT.items()
    }


def counts(status: Status) -> dict[str, tuple[int, int, int, int, int]]:
    return {
        source.source: (source.lines, source.accepted, source.duplicate, source.suppressed, source.purged)
        for source in status.sources
        if source.source in ("tracking_logs", "access_logs", "esp_events")
    }


def frozen_rows(warehouse: Path) -> dict[str, int]:
    """Rows of each frozen table and list of digests, over all purges."""
    found: dict[str, int] = {}
    with Ledger(warehouse / LEDGER_NAME, read_only=True) as ledger:
        parts = [(row["path"], row["row_count"]) for row in ledger.parts(source="frozen")]
    for path, count in parts:
        if path.startswith("frozen/"):
            name = Path(path).stem.split("-r")[0]
            found[name] = found.get(name, 0) + count
    return found


def test_its_lines_go_and_are_counted(taken: Path, landing: Path) -> None:
    before, there = kept(taken), of_it(taken)
    # Counted by hand from write_landing: five opens and clicks and a page; two hits; three opens.
    assert there == [6, 2, 3]
    report = purge(taken)
    assert dict(report.taken[TRACKING].lines) == dict(
        zip(("tracking_logs", "access_logs", "esp_events"), there, strict=True)
    )
    assert of_it(taken) == [0, 0, 0]
    after = kept(taken)
    # The POST that told of both deliveries keeps Sam's row, but not the text, which tells of Quinn's.
    texts = query(f"select line from {landed(taken, 'esp_events')} where message_id = {SAMS} and event_kind = 'open'")
    assert texts == [(None,)]
    assert {**after, "esp_events": len(after["esp_events"])} == {**before, "esp_events": len(before["esp_events"])}
    # Lines: 12 of the log with a duplicate and two refused ones; five requests with two images; four POSTs, of which
    # one is gone as a whole.
    assert counts(collect(taken)) == {
        "tracking_logs": (12, 3, 1, 0, 6),
        "access_logs": (5, 1, 0, 0, 2),
        "esp_events": (4, 3, 0, 0, 1),
    }
    # What the check on landed rows asks of every batch, wherever a run begins to look.
    accepted = query(
        f"select source, sum(accepted_count) from '{taken}/landed/batches.parquet' group by all having source in"
        " ('tracking_logs', 'access_logs', 'esp_events', 'frozen') order by all"
    )
    rows = {source: query(f"select count(*) from {landed(taken, source)}")[0][0] for source in LINE_FORMATS}
    assert dict(accepted) == rows | {"frozen": 0}
    assert_accounted(taken)
    assert_rerun_changes_nothing(landing, taken)


def test_frozen_rows_name_nobody(taken: Path) -> None:
    purge(taken)
    with Ledger(taken / LEDGER_NAME, read_only=True) as ledger:
        frozen = {row["path"] for row in ledger.parts(source="frozen") if row["path"].startswith("frozen/")}
    names = {Path(path).stem: taken / "landed" / path for path in frozen}
    assert names.keys() == {"reports.rpt_clicks", "core.agg_person_clicks", "lines"}
    assert query(f"select delivery_id, click_count from '{names['reports.rpt_clicks']}'") == [(DELIVERY, 3)]
    persons = query(f"select person_key from '{names['core.agg_person_clicks']}'")
    assert len(set(persons)) == 3 and all(key.startswith("purged-") and len(key) == 39 for (key,) in persons)
    # One salt for all purges: a person is the same in the next one.
    (salt,) = query(f"select salt from '{taken}/landed/ledger_salt.parquet'")[0]
    assert ("purged-" + query(f"select md5('{salt}{HER_VISITOR}')")[0][0],) in persons


def test_late_and_repeated_lines_are_suppressed(taken: Path, landing: Path) -> None:
    purge(taken)
    before = counts(collect(taken))
    hers, others = her_lines(), others_lines()
    logs(
        landing,
        "redir5/0x0.log",
        # Seen before: of the purged delivery, its page that only the models could tell, and one of the other.
        *(hers[1], hers[3], others[2]),
        # New: of the delivery; of a message of it, naming no delivery; of the other delivery.
        line(50, message=QUINNS, delivery=DELIVERY, url=5),
        line(51, message=QUINNS, delivery=0),
        line(52, message=SAMS, delivery=OTHER_DELIVERY, url=5),
    )
    access_log(landing, "web/late.log", hit(QUINNS, DELIVERY, 7), hit(SAMS, OTHER_DELIVERY, 7))
    jsonl(
        landing,
        "sendgrid/late.jsonl",
        sendgrid("click", NOON + 900, "quinn@home.example", message_id=str(QUINNS), url="https://x.example/"),
        # What became of the message is no tracking.
        sendgrid("bounce", NOON + 901, "quinn@home.example", message_id=str(QUINNS), reason="552 full"),
    )
    # The same file once more, elsewhere.
    shutil.copy(landing / "tracking_logs" / "redir5" / "0x1.log", landing / "tracking_logs" / "again.log")
    report = ingest(landing, taken, run_id="late")
    assert report.problems == [] and report.totals["tracking_logs"].files_duplicate == 1
    assert of_it(taken) == [0, 0, 0]
    after = collect(taken)
    added = {
        name: tuple(new - old for new, old in zip(counts(after)[name], before[name], strict=True)) for name in before
    }
    assert added == {
        "tracking_logs": (6, 1, 1, 4, 0),
        "access_logs": (2, 1, 0, 1, 0),
        "esp_events": (2, 1, 0, 1, 0),
    }
    assert after.late_lines == 6
    # What came and is not kept is not missing.
    assert [(gap.first_missing_pointer, gap.last_missing_pointer) for gap in after.gaps] == [(12, 49)]
    assert_accounted(taken)
    assert_rerun_changes_nothing(landing, taken)


def test_a_dry_run_changes_no_byte_and_says_the_same(taken: Path) -> None:
    def files() -> dict[Path, bytes]:
        # SQLite makes its two side files for every reader; what they hold is in the ledger.
        found = (path for path in taken.rglob("*") if path.is_file() and not path.name.startswith("ledger.sqlite-"))
        return {path: path.read_bytes() for path in found}

    before = files()
    dry = purge(taken, is_dry=True)
    assert files() == before
    done = purge(taken)
    assert dry.taken == done.taken and dry.taken[TRACKING].bytes.total() > 0
    assert dry.purges == [] and [purge.line_count for purge in done.purges] == [11]


def test_an_erasure_reaches_frozen_rows_and_persons_stay_apart(taken: Path, landing: Path) -> None:
    """Her cookie on the other delivery and in the frozen rows was one person, and is one person of nobody."""
    logs(landing, "redir5/0x3C.log", line(60, message=ROBINS, delivery=OTHER_DELIVERY, visitor=HER_VISITOR))
    ingest(landing, taken, run_id="more")
    purge(taken)
    (salt,) = query(f"select salt from '{taken}/landed/ledger_salt.parquet'")[0]
    digest = f"select 'purged-' || md5('{salt}' || visitor_id) from {landed(taken, 'tracking_logs')}"
    hers = query(f"{digest} where visitor_id = '{HER_VISITOR}'")[0][0]
    frozen = f"read_parquet('{taken}/landed/frozen/*/core.agg_person_clicks*.parquet')"
    before = query(f"select person_key from {frozen} order by 1")
    assert (hers,) in before
    erase(taken, [ROBIN], run_id="erasure")
    after = query(f"select person_key from {frozen} order by 1")
    assert (hers,) not in after and len(set(after)) == len(before) == 3
    # The id that stands for her cookie now is found in both.
    assert query(f"{digest} where pointer = 60")[0] in after
    assert len(query(f"{digest} where visitor_id = '{HER_VISITOR}'")) == 0
    assert_accounted(taken)


def test_delivery_logs_go_with_tracking_or_after_it(taken: Path, landing: Path, tmp_path: Path) -> None:
    """Its messages and what became of them; the rest is as after a purge of tracking."""
    at_once = Path(shutil.copytree(taken, tmp_path / "at_once"))
    report = purge(at_once, TRACKING, DELIVERY_LOGS)
    purge(taken)
    assert of_it(taken, LOGS) == [1, 2] and frozen_rows(taken)["reports.rpt_clicks"] == 1
    purge(taken, DELIVERY_LOGS)
    # By hand: the bounce that only its address tells, and two of four messages.
    assert dict(report.taken[DELIVERY_LOGS].lines) == {"esp_events": 1, "messages": 2}
    for warehouse in (at_once, taken):
        assert of_it(warehouse) == [0, 0, 0] and of_it(warehouse, LOGS) == [0, 0]
        left = query(f"select message_id from {landed(warehouse, 'messages')} order by 1")
        assert left == [(SAMS,), (ROBINS_SECOND,)]
        # Each table is kept from its own purge on, once; a digest of each message, and of three lines that name none:
        # the page, and the bounce (the opens of webhooks name their messages).
        assert frozen_rows(warehouse) == {
            "core.agg_person_clicks": 3,
            "reports.rpt_clicks": 1,
            "reports.rpt_sent": 1,
            "lines": 2,
            "messages": 2,
        }
        status = {source.source: source for source in collect(warehouse).sources}
        assert (status["messages"].accepted, status["messages"].purged) == (2, 2)
        assert counts(collect(warehouse))["esp_events"] == (4, 2, 0, 0, 2)
        assert_accounted(warehouse)
        assert_rerun_changes_nothing(landing, warehouse)
    kinds = "select kind, delivery_id, event_count > 0 from '{}/landed/ledger_purges.parquet' order by 1"
    assert query(kinds.format(taken)) == [("delivery_logs", DELIVERY, True), ("tracking", DELIVERY, True)]
    assert query(kinds.format(at_once)) == query(kinds.format(taken))


def test_nothing_of_purged_delivery_logs_is_taken_in_again(taken: Path, landing: Path) -> None:
    purge(taken, TRACKING, DELIVERY_LOGS)
    before = collect(taken).late_lines
    jsonl(
        landing,
        "sendgrid/late.jsonl",
        # Of a message that is known by its digest alone; the bounce of old, and one that names the delivery.
        sendgrid("delivered", NOON + 900, "quinn@home.example", message_id=str(QUINNS)),
        sendgrid("bounce", NOON + 2, HER_OLD_ADDRESS, reason=f"552 5.2.2 {HER_OLD_ADDRESS} mailbox full"),
        sendgrid("bounce", NOON + 901, "x@home.example", delivery_id=str(DELIVERY), reason="552 full"),
        sendgrid("delivered", NOON + 902, "sam@home.example", message_id=str(SAMS)),
    )
    logs(landing, "late/0x32.log", line(50, message=QUINNS, delivery=0), line(51, message=SAMS, delivery=0))
    rows = [
        {"message_id": number, "delivery_id": delivery, "recipient_id": 5, "status": 2}
        for number, delivery in ((QUINNS, DELIVERY), (77, DELIVERY), (78, OTHER_DELIVERY))
    ]
    reference(landing, "messages", rows, "late.csv")
    # Nothing but what was purged: still an extract that was taken, and is not taken again.
    reference(landing, "messages", rows[:1], "later.csv")
    report = ingest(landing, taken, run_id="late")
    assert report.problems == []
    totals = {name: (of.lines, of.accepted, of.suppressed) for name, of in report.totals.items() if of.lines}
    assert totals == {"esp_events": (4, 1, 3), "tracking_logs": (2, 1, 1), "messages": (4, 1, 3)}
    assert collect(taken).late_lines - before == 7
    assert of_it(taken, LOGS) == [0, 0]
    assert query(f"select message_id from {landed(taken, 'messages')} where message_id in (77, 78)") == [(78,)]
    assert_accounted(taken)
    assert_rerun_changes_nothing(landing, taken)


def test_a_table_that_is_read_again_brings_no_news_of_purged_logs(taken: Path) -> None:
    purge(taken, TRACKING, DELIVERY_LOGS)
    entity = next(entity for entity in REFERENCE_ENTITIES if entity.name == "messages")
    rows = f"message_id,delivery_id,recipient_id,status\n{QUINNS},{DELIVERY},5,2\n77,{DELIVERY},5,2\n78,2,5,2\n"
    now = datetime(2024, 6, 1)
    with Ledger(taken / LEDGER_NAME) as ledger:
        landing = Landing(taken, ledger)
        lander = RowLander(
            entity,
            landing,
            file_id=99,
            source_file="postgresql/log",
            file_modified_at=now,
            ingested_at=now,
            is_read_again=True,
        )
        for block in read_records([rows.encode()], "log.csv"):
            lander.land(block)
        assert (lander.tally.lines, lander.tally.accepted, lander.tally.suppressed, lander.identical) == (1, 1, 0, 2)
        lander.unit.discard()
        landing.close()


def test_lines_set_aside_go_by_the_day_they_were_taken_in(taken: Path, landing: Path) -> None:
    (noon,) = query(f"select max(ingested_at) from {landed(taken, 'set_aside')}")[0]
    before = {source.source: source for source in collect(taken).sources}
    # Of the log a duplicate and two refused lines, two images, and a recipient without an id.
    aside = {name: of.duplicate + of.quarantined + of.not_tracking + of.blank for name, of in before.items()}
    assert {name: count for name, count in aside.items() if count} == {
        "tracking_logs": 3,
        "access_logs": 2,
        "recipients": 1,
    }
    logs(landing, "redir5/0x64.log", line(100), b"broken\n", b"\n")
    ingest(landing, taken, run_id="more")
    newer = query(f"select raw, disposition from {landed(taken, 'set_aside')} where ingested_at > '{noon}' order by 2")
    assert newer == [(b"", "blank"), (b"broken", "quarantined")]
    at = noon + timedelta(microseconds=1)
    assert purge(taken, SET_ASIDE, is_dry=True, set_aside_before=at).taken[SET_ASIDE].lines == {"set_aside": 6}
    report = purge(taken, SET_ASIDE, set_aside_before=at)
    assert [(made.kind, made.line_count) for made in report.purges] == [(SET_ASIDE, 6)]
    left = f"select raw, disposition from {landed(taken, 'set_aside')} order by 2"
    assert query(left) == newer
    found = collect(taken)
    for source in found.sources:
        was, more = before[source.source], 3 * (source.source == "tracking_logs")
        assert source.purged == aside[source.source] and source.lines == was.lines + more
        parts = source.accepted + source.duplicate + source.quarantined + source.blank + source.not_tracking
        assert parts + source.suppressed + source.purged == source.lines
    # Nothing of them is above the landed rows: nothing has to be built anew.
    with Ledger(taken / LEDGER_NAME, read_only=True) as ledger:
        assert ledger.fact(PENDING) == ""
    assert query(f"select sum(quarantined_count), sum(purged_count) from '{taken}/landed/ledger_files.parquet'") == [
        (1, 6)
    ]
    assert_accounted(taken)
    assert_rerun_changes_nothing(landing, taken)
    # Once more is nothing, and what comes later is counted beside.
    assert purge(taken, SET_ASIDE, set_aside_before=at).purges == []
    assert purge(taken, SET_ASIDE, set_aside_before=ALL_THAT_WAS_SET_ASIDE).taken[SET_ASIDE].lines.total() == 2
    assert query(left) == [] and sum(collect(taken).purged_lines.values()) == 8
    assert_accounted(taken)


def test_statistics_go_last(taken: Path) -> None:
    """Of a delivery that was purged before, and of one that goes as a whole in one purge."""
    purge(taken, TRACKING, DELIVERY_LOGS)
    kept = frozen_rows(taken)
    assert purge(taken, STATISTICS, is_dry=True, statistics_of=[DELIVERY]).taken[STATISTICS].lines == {"frozen": 5}
    purge(taken, STATISTICS, statistics_of=[DELIVERY])
    # What tells late lines stays.
    assert frozen_rows(taken) == {name: 0 if "." in name else count for name, count in kept.items()}
    kinds = query(f"select kind from '{taken}/landed/ledger_purges.parquet' order by 1")
    assert kinds == [("delivery_logs",), ("statistics",), ("tracking",)]
    assert_accounted(taken)


def test_a_delivery_that_goes_as_a_whole_is_not_frozen(taken: Path) -> None:
    purge(taken, TRACKING, DELIVERY_LOGS, statistics_of=[DELIVERY])
    assert frozen_rows(taken) == {"lines": 2, "messages": 2}
    assert of_it(taken) == [0, 0, 0] and of_it(taken, LOGS) == [0, 0]
    assert_accounted(taken)
