"""What holds where the ledger is a file holds where it is in PostgreSQL: the same tests once more, and the move there.

Belongs here: which of them. Does not: how they find their ledger (tests/ledgers_in_postgres.py), several processes
(tests/faults/test_ingest_workers.py), the command line (test_postgres_ledger).
"""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from log_ingest.errors import IngestError
from log_ingest.ingest import LEDGER_NAME, ingest
from log_ingest.ledger import Ledger
from log_ingest.ledger_database import PostgresUrl
from log_ingest.move_ledger import move_ledger
from log_ingest.status import collect
from tests.conftest import ROOT
from tests.invariants import assert_accounted, assert_rerun_changes_nothing, events
from tests.loglines import line, logs, numbered
from tests.postgres import Database, Server
from tests.postgres import programs as postgres_programs

# All of these files pass but for what looks at the ledger's file; these are the ones that ask most of a ledger.
SAME_TESTS = [
    "test_ingest.py::test_copies_are_known_by_content",
    "test_ingest.py::test_a_growing_file_gives_only_its_new_whole_lines",
    "test_ingest.py::test_a_held_line_is_sealed_where_its_file_was_renamed",
    "test_ingest.py::test_nothing_of_a_broken_archive_is_taken_until_it_is_mended",
    "test_ingest.py::test_rotation_and_replaced_content_decide_by_content",
    "test_ingest.py::test_reference_rows",
    "test_replay.py::test_what_a_defect_refused_is_taken_in_after_the_fix",
    "test_purge.py::test_late_and_repeated_lines_are_suppressed",
    "test_erasure.py::test_whoever_comes_again_is_suppressed_and_counted",
]


def test_the_same_holds_in_postgresql(postgres: Server) -> None:
    """postgres: where no server can be started, this is skipped as all others are."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.ledgers_in_postgres", "-n", "0", "-q", "-p", "no:cacheprovider"]
        + [f"tests/integration/{name}" for name in SAME_TESTS],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_moved_ledger_goes_on_where_the_file_stopped(landing: Path, warehouse: Path, postgres: Server) -> None:
    lines = numbered(100)
    logs(landing, "a/one.log", *lines[:50], b"no line at all\n", lines[50][:20])
    ingest(landing, warehouse, run_id="file")
    before = collect(warehouse)
    to = PostgresUrl(postgres.new_database().url)
    move_ledger(warehouse / LEDGER_NAME, to)
    after = collect(warehouse, ledger_at=to)
    assert after == before
    assert_rerun_changes_nothing(landing, warehouse, ledger_at=to)
    logs(landing, "a/one.log", *lines[:50], b"no line at all\n", *lines[50:])
    logs(landing, "b/two.log", *lines[20:], line(0xFD7E000 + 200))
    ingest(landing, warehouse, run_id="database", ledger_at=to)
    assert_accounted(warehouse, ledger_at=to)
    assert len(events(warehouse)) == 101
    with pytest.raises(IngestError, match="holds a ledger already"):
        move_ledger(next(warehouse.glob("*.moved")), to)
    # Whoever forgets the setting meets the mark and not an empty ledger that takes all for leftovers.
    with pytest.raises(IngestError, match="belongs to another warehouse"):
        ingest(landing, warehouse, run_id="forgot")
    assert len(events(warehouse)) == 101


def test_a_database_that_is_away_is_one_line_and_may_be_tried_again(landing: Path, warehouse: Path) -> None:
    away = PostgresUrl("postgresql://ann:s3cret@127.0.0.1:1/ledger")
    with pytest.raises(IngestError, match="check that the server is up") as failed:
        Ledger(away)
    assert failed.value.is_transient  # type: ignore[attr-defined]
    assert "s3cret" not in str(failed.value) and "\n" not in str(failed.value)


def test_a_dump_of_the_schema_is_a_backup(landing: Path, warehouse: Path, postgres: Server) -> None:
    """As docs/ingest-workers.md shows it: with the rights of the database's owner, into an empty database."""
    programs = postgres_programs()
    assert programs is not None
    owner = postgres.new_database().new_user("ledger_keeper", "keeper's password")
    Database(owner.port, owner.name).execute(f"alter database {owner.name} owner to {owner.user}")
    empty = replace(owner, name=postgres.new_database().name)
    Database(empty.port, empty.name).execute(f"alter database {empty.name} owner to {owner.user}")
    logs(landing, "a/one.log", *numbered(50))
    ingest(landing, warehouse, run_id="before", ledger_at=PostgresUrl(owner.url))
    dump = warehouse / "ledger.dump"
    for command in (
        ["pg_dump", "--format=custom", "--schema=mtw_ledger", f"--file={dump}", owner.url],
        ["pg_restore", f"--dbname={empty.url}", dump],
    ):
        subprocess.run([programs / command[0], *command[1:]], check=True)
    restored = PostgresUrl(empty.url)
    assert collect(warehouse, ledger_at=restored) == collect(warehouse, ledger_at=PostgresUrl(owner.url))
    logs(landing, "a/two.log", *numbered(80)[40:])
    report = ingest(landing, warehouse, run_id="after", ledger_at=restored)
    assert (report.totals["tracking_logs"].accepted, report.totals["tracking_logs"].duplicate) == (30, 10)
    assert_accounted(warehouse, ledger_at=restored)
