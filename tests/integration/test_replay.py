"""Quarantined lines are read again after a fix, exactly once, and every control total stays true."""

from pathlib import Path

import duckdb
import pytest

from log_ingest.erasure import erase
from log_ingest.formats import trackinglogd
from log_ingest.ingest import ingest
from log_ingest.replay import replay
from log_ingest.status import collect
from tests.conftest import mtw
from tests.invariants import assert_accounted, assert_rerun_changes_nothing, events, landed, query
from tests.loglines import line, logs


def break_the_format(monkeypatch: pytest.MonkeyPatch) -> None:
    """A format with a defect: it refuses visitor ids with an underscore, as the real one does, and every server 7."""
    beginning = trackinglogd._BEGINNING.replace("[0-9A-Za-z]0x", "[0-68-9A-Za-z]0x", 1)
    assert beginning != trackinglogd._BEGINNING
    monkeypatch.setattr(trackinglogd, "_BEGINNING", beginning)
    monkeypatch.setattr(trackinglogd.Trackinglogd, "read_usual", None)


def totals(warehouse: Path) -> tuple[int, int, int, int]:
    (found,) = [source for source in collect(warehouse).sources if source.source == "tracking_logs"]
    return found.lines, found.accepted, found.duplicate, found.quarantined


def test_what_a_defect_refused_is_taken_in_after_the_fix(
    landing: Path, warehouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs(landing, "a/x.log", line(1), line(1, server="7"), line(2, visitor="a_b"), line(2, server="7"), line(4, ip="?"))
    logs(landing, "b/y.log", line(2, server="7"), line(3, server="7").rstrip(b"\n"))
    untroubled = tmp_path / "untroubled"
    ingest(landing, untroubled, run_id="test")
    with monkeypatch.context() as broken:
        break_the_format(broken)
        ingest(landing, warehouse, run_id="test")
        assert totals(warehouse) == (6, 1, 0, 5)
        report = replay(warehouse, run_id="again")
        assert (report.looked_at, report.accepted, report.still_quarantined) == (5, 0, 5)
    report = replay(warehouse, run_id="again")
    assert (report.looked_at, report.accepted, report.duplicate, report.still_quarantined) == (5, 2, 1, 2)
    assert_accounted(warehouse)
    assert totals(warehouse) == totals(untroubled) == (6, 3, 1, 2)
    assert events(warehouse) == events(untroubled)
    assert collect(warehouse).gaps == collect(untroubled).gaps
    assert replay(warehouse, run_id="again").accepted == 0
    assert_rerun_changes_nothing(landing, warehouse)


def test_a_replay_that_dies_before_its_ledger_row_leaves_nothing(
    landing: Path, warehouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from log_ingest.ledger import Ledger

    logs(landing, "a/x.log", line(1), line(1, server="7"))
    with monkeypatch.context() as broken:
        break_the_format(broken)
        ingest(landing, warehouse, run_id="test")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(Ledger, "commit", die)
        with pytest.raises(KeyboardInterrupt):
            replay(warehouse, run_id="again")
    assert len(list((warehouse / "landed" / "set_aside").glob("batch_id=1/*"))) == 2, "the new part has no ledger row"
    assert replay(warehouse, run_id="again").accepted == 1
    assert_accounted(warehouse)
    assert len(events(warehouse)) == 2
    assert duckdb.connect().execute(f"select count(*) from {landed(warehouse, 'set_aside')}").fetchall() == [(0,)]


def test_a_file_whose_format_changed_is_held_until_it_is_meant(landing: Path, warehouse: Path) -> None:
    wide = [line(n).rstrip(b"\n") + b"\tchain\tnew\tfields\n" for n in range(40)]
    logs(landing, "a/x.log", *wide)
    logs(landing, "b/some.log", line(100), *(line(n) for n in range(101, 140)), wide[3].replace(b"50x", b"60x"))
    report = ingest(landing, warehouse, run_id="test")
    assert report.totals["tracking_logs"].accepted == 41, "extra fields on a few lines are kept"
    (problem,) = report.problems
    assert problem.startswith("tracking_logs/a/x.log: 40 of its first 40 lines have 14 or more fields")
    assert ingest(landing, warehouse, run_id="test").problems == [problem], "said in every run"
    done = mtw("quarantine", "replay", landing=landing, warehouse=warehouse)
    assert done.returncode == 0, done.stderr
    assert "held files to open again  1" in done.stdout
    assert ingest(landing, warehouse, run_id="test").problems == [problem], "opened again, and held again"
    report = ingest(landing, warehouse, run_id="test", accepts_drift=True)
    assert (report.problems, report.totals["tracking_logs"].accepted) == ([], 40)
    assert_accounted(warehouse)
    extra = duckdb.connect().execute(f"select distinct extra from {landed(warehouse, 'tracking_logs')}").fetchall()
    assert sorted(extra, key=str) == [("new\tfields",), (None,)]


def test_lines_of_the_erased_that_could_not_be_read_do_not_come_back(
    landing: Path, warehouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their ids are too short to be found in a line that nobody can read."""
    rows = "message_id,delivery_id,recipient_id,status\n1234,1,42,1\n1235,1,43,1\n"
    (landing / "reference/messages").mkdir(parents=True)
    (landing / "reference/messages/m.csv").write_text(rows)
    logs(landing, "a/x.log", line(1, message=1235))
    ingest(landing, warehouse, run_id="test")
    erase(warehouse, [42], run_id="erasure")
    hers, others = line(2, server="7", message=1234, visitor="0"), line(3, server="7", message=1235, visitor="0")
    logs(landing, "b/y.log", hers, others)
    logs(landing, "c/z.log", line(4, server="7", message=1234, visitor="0"))
    with monkeypatch.context() as broken:
        break_the_format(broken)
        ingest(landing, warehouse, run_id="test")
    assert totals(warehouse) == (4, 1, 0, 3)
    report = replay(warehouse, run_id="again")
    assert (report.looked_at, report.accepted, report.suppressed, report.still_quarantined) == (3, 1, 2, 0)
    assert {row[0] for row in query(f"select message_id from {landed(warehouse, 'tracking_logs')}")} == {1235}
    assert query(f"select count(*) from {landed(warehouse, 'set_aside')}") == [(0,)]
    assert_accounted(warehouse)
    assert collect(warehouse).gaps == []
    assert_rerun_changes_nothing(landing, warehouse)
