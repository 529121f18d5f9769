"""Purging landed rows: what goes, what is counted, who comes again. test_retention has the way to what is published."""

import shutil
from pathlib import Path

import pytest

from log_ingest.erasure import erase
from log_ingest.formats.registry import LINE_FORMATS
from log_ingest.ingest import LEDGER_NAME, ingest
from log_ingest.ledger import Ledger
from log_ingest.retention import PurgeReport, purge_tracking
from log_ingest.status import Status, collect
from tests.accesslines import access_log, hit
from tests.espevents import jsonl, sendgrid
from tests.invariants import assert_accounted, assert_rerun_changes_nothing, landed, query
from tests.loglines import line, logs
from tests.purges import due, of_it, write_landing
from tests.robin import (
    DELIVERY,
    HER_VISITOR,
    NOON,
    OTHER_DELIVERY,
    QUINNS,
    QUINNS_VISITOR,
    ROBIN,
    ROBINS,
    SAMS,
    her_lines,
    others_lines,
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


def purge(warehouse: Path, *, is_dry: bool = False) -> PurgeReport:
    database = warehouse.with_suffix(".duckdb")
    database.unlink(missing_ok=True)
    return purge_tracking(warehouse, due(warehouse, database), run_id="purge", is_dry=is_dry)


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


def test_its_lines_go_and_are_counted(taken: Path, landing: Path) -> None:
    before, there = kept(taken), of_it(taken)
    # Counted by hand from write_landing: five opens and clicks and a page; two hits; three opens.
    assert there == [6, 2, 3]
    report = purge(taken)
    assert dict(report.lines) == dict(zip(("tracking_logs", "access_logs", "esp_events"), there, strict=True))
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
    assert (dry.lines, dry.bytes) == (done.lines, done.bytes) and sum(dry.bytes.values()) > 0
    assert dry.purge is None and done.purge is not None and done.purge.line_count == 11


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
