"""Publishing and its PostgreSQL copy die or fail at any step: readers see the old or the new version, whole, and the
next publication leaves nothing behind of the one that died.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from orchestration.publication import PublishError, current
from tests.faults.publish_child import copy_once, publish_changes, publish_once
from tests.faults.test_ingest_faults import small_disk
from tests.faults.trials import KILLED, Server, served
from tests.integration.test_publish import assert_whole, change_rows, make_working_database
from tests.postgres import Database

EVERY_POINT = bool(os.environ.get("MTW_TESTS_EVERY_POINT"))
"""Try every single point where the suite takes a sample of them: some minutes."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with served("tests.faults.publish_child") as found:
        yield found


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a published version run-old, and a working database that has changed since."""
    folder = tmp_path_factory.mktemp("publish")
    working = make_working_database(folder / "work" / "warehouse.duckdb")
    publish_once(working, folder / "published", "run-old")
    change_rows(working)
    return folder


@pytest.fixture(scope="module")
def made_anew(before: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, and the models were made anew: all is copied."""
    folder = tmp_path_factory.mktemp("anew")
    working, _ = copied(before, folder)
    with contextlib.closing(duckdb.connect(str(working))) as connection:
        connection.execute("update state.model_marks set rebuilt_run = 2")
    return folder


def copied(before: Path, to: Path) -> tuple[Path, Path]:
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(before, to, symlinks=True)
    return to / "work" / "warehouse.duckdb", to / "published"


def assert_tidy(published: Path) -> None:
    names = [path.name for path in [*published.iterdir(), *(published / "versions").iterdir()]]
    assert not [name for name in names if name.startswith(".")]


# What tests/integration/test_publish.py counts to fail, counted here to kill.
@pytest.mark.parametrize(("what", "stride"), [("disk", 2), ("statement", 11)])
@pytest.mark.parametrize("state", ["before", "made_anew"])
def test_killed_at_any_step(
    server: Server, request: pytest.FixtureRequest, tmp_path: Path, what: str, stride: int, state: str
) -> None:
    """By changed rows (before), and copied as a whole (made_anew)."""
    outcomes = []
    before: Path = request.getfixturevalue(state)
    for at in range(1, 2000, 1 if EVERY_POINT else stride):
        working, published = copied(before, tmp_path / "copy")
        code = server(what, at, working, published, "run-new")
        run_id = current(published).run_id
        assert_whole(published, run_id)
        outcomes.append(run_id)
        if at % 3 == 0 or code == 0:
            publish_changes(working, published, "run-after")
            assert current(published).added == (state == "before") + (run_id == "run-new")
            assert_whole(published, "run-after")
            assert_tidy(published)
        if code == 0:
            break
        assert code == KILLED
    # Old until the swap, new from it on.
    assert outcomes == sorted(outcomes, reverse=True) and outcomes[-1] == "run-new"
    assert outcomes.count("run-old") > 8


def test_a_failing_statement_leaves_the_old_version(
    before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    working, published = copied(before, tmp_path / "copy")
    execute, count, fail_at = duckdb.DuckDBPyConnection.execute, 0, 0

    def failing(self: duckdb.DuckDBPyConnection, *arguments: object) -> object:
        nonlocal count
        count += 1
        if count == fail_at:
            raise duckdb.IOException("IO Error: Could not write to /the/place: Input/output error\nmore")
        return execute(self, *arguments)

    monkeypatch.setattr(duckdb.DuckDBPyConnection, "execute", failing)
    failures = 0
    for at in range(1, 2000, 1 if EVERY_POINT else 6):
        count, fail_at = 0, at
        try:
            publish_once(working, published, "run-new")
        except PublishError as error:
            failures += 1
            assert "/the/place" in str(error) and "version 000001 stays published" in str(error)
            assert "\n" not in str(error)
            assert current(published).run_id == "run-old"
        else:
            break
    monkeypatch.undo()
    assert failures > 10
    assert_whole(published, "run-new")
    assert_tidy(published)


def test_a_full_disk_is_one_line_and_the_old_version_stays(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, "8m"):
        working, published = make_working_database(tmp_path / "work" / "warehouse.duckdb"), disk / "published"
        publish_once(working, published, "run-old")
        with contextlib.closing(duckdb.connect(str(working))) as connection:
            # What does not compress: more than the disk holds.
            connection.execute("create table core.fct_noise as select uuid()::varchar as noise from range(400000)")
        free = shutil.disk_usage(disk).free
        with pytest.raises(PublishError, match="version 000001 stays published") as failed:
            publish_once(working, published, "run-new")
        assert "\n" not in str(failed.value) and "space" in str(failed.value)
        assert_whole(published, "run-old")
        assert_tidy(published)
        assert shutil.disk_usage(disk).free == pytest.approx(free, abs=100_000), "what did not fit is gone again"
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        publish_once(working, published, "run-new")
        assert_whole(published, "run-new")


READ = """
import duckdb, os, sys
path = sys.argv[1]
held = duckdb.connect(os.path.realpath(path), read_only=True)
ask = "select (select run_id from meta.publication), (select count(*) from core.fct_tracking_events)"
print(*held.execute(ask).fetchone(), flush=True)
for line in sys.stdin:
    fresh = duckdb.connect(os.path.realpath(path), read_only=True)
    print(*held.execute(ask).fetchone(), *fresh.execute(ask).fetchone(), flush=True)
    fresh.close()
"""


def test_a_reader_of_another_process_is_undisturbed_by_publications(before: Path, tmp_path: Path) -> None:
    """It holds the old file, also when that is pruned, and sees whole versions whenever it resolves the link anew."""
    working, published = copied(before, tmp_path / "copy")
    rows = {"run-old": "1001"}
    with subprocess.Popen(
        [sys.executable, "-c", READ, str(published / "marts.duckdb")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdin is not None and reader.stdout is not None
        assert reader.stdout.readline().split() == ["run-old", rows["run-old"]]
        answers: list[list[str]] = []

        def publish_five() -> None:
            for number in range(5):
                with contextlib.closing(duckdb.connect(str(working))) as connection:
                    connection.execute(f"delete from core.fct_tracking_events where delivery_id = {number}")
                    (count,) = connection.execute("select count(*) from core.fct_tracking_events").fetchone()
                rows[f"run-{number}"] = str(count)
                publish_once(working, published, f"run-{number}")

        publishing = threading.Thread(target=publish_five)
        publishing.start()
        while True:
            is_last = not publishing.is_alive()
            reader.stdin.write("again\n")
            reader.stdin.flush()
            answers.append(reader.stdout.readline().split())
            if is_last:
                break
        reader.stdin.close()
    assert {tuple(answer[:2]) for answer in answers} == {("run-old", rows["run-old"])}
    assert all(rows[run_id] == count for _, _, run_id, count in answers), answers
    assert answers[-1][2] == "run-4" and len({answer[2] for answer in answers}) > 2
    assert not (published / "versions" / "000001").exists(), "it was pruned while it was open"


def test_a_copy_killed_at_any_step_shows_one_version(
    server: Server, before: Path, tmp_path: Path, database: Database
) -> None:
    working, published = copied(before, tmp_path / "copy")
    copy_once(published, database.url)
    assert held(database) == ("run-old", 1001)
    publish_once(working, published, "run-new")
    new = current(published).tables["core.fct_tracking_events"]
    seen = []
    for at in range(1, 2000, 1 if EVERY_POINT else 5):
        code = server("copy", at, working, published, "", database.url)
        seen.append(held(database))
        assert seen[-1] in (("run-old", 1001), ("run-new", new))
        if code == 0:
            break
        assert code == KILLED
    assert seen[0] == ("run-old", 1001) and seen[-1] == ("run-new", new) and len(seen) > 4


def held(database: Database) -> tuple:
    (row,) = database.query(
        "select (select run_id from meta.publication), (select count(*) from core.fct_tracking_events)"
    )
    return row
