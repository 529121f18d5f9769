"""Faults are injected for real: processes killed, writes failing, disks full, files rotting. After each, the next
clean ingest reaches the result that an untroubled one has, with nothing left behind.
"""

import errno
import gzip
import io
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from log_ingest import files
from log_ingest.audit import damaged_parts
from log_ingest.errors import IngestError
from log_ingest.ingest import LEDGER_NAME, ingest
from log_ingest.ledger import Ledger
from log_ingest.status import collect
from tests.conftest import ROOT
from tests.faults.ingest_child import SOURCES
from tests.invariants import EMPTY, assert_accounted, assert_rerun_changes_nothing, events
from tests.loglines import line, logs, numbered

NO_LINE = b"no line at all\n"


@dataclass(frozen=True)
class Story:
    """A warehouse with a first run behind it, a landing folder with news, and what an untroubled ingest makes of it."""

    landing: Path
    before: Path
    events: list[tuple]
    totals: list

    def assert_reached_by(self, warehouse: Path) -> None:
        ingest(self.landing, warehouse, run_id="after", sources=SOURCES)
        assert_accounted(warehouse)
        assert events(warehouse) == self.events
        assert collect(warehouse).sources == self.totals
        assert_nothing_left_behind(warehouse)


def assert_nothing_left_behind(warehouse: Path) -> None:
    """What is not in the ledger does not exist, not even as a file."""
    with Ledger(warehouse / LEDGER_NAME, read_only=True) as ledger:
        known = {row["path"] for row in ledger.parts()}
        assert ledger.is_whole()
        assert damaged_parts(warehouse / "landed", ledger) == []
    found = {
        str(path.relative_to(warehouse / "landed")) for path in (warehouse / "landed").rglob("*") if path.is_file()
    }
    assert {path for path in found if "/" in path and EMPTY not in path} == known
    assert not (warehouse / "landed" / ".temp").exists() or not any((warehouse / "landed" / ".temp").iterdir())


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    base = tmp_path_factory.mktemp("story")
    landing_dir, before, untroubled = base / "landing", base / "before", base / "untroubled"
    lines = numbered(400)
    growing = logs(landing_dir, "a/0x000000000FD7E000.log", *lines[:150], lines[150][:40])
    ingest(landing_dir, before, run_id="first", sources=SOURCES)
    growing.write_bytes(b"".join(lines[:200]) + NO_LINE + b"".join(lines[200:]))
    logs(landing_dir, "b/again.log.gz", gzip.compress(b"".join(lines[100:300]) + b"\n"))
    reference = landing_dir / "reference" / "deliveries"
    reference.mkdir(parents=True)
    (reference / "one.csv").write_text("delivery_id,label\n1,One\n2\n")
    shutil.copytree(before, untroubled)
    ingest(landing_dir, untroubled, run_id="second", sources=SOURCES)
    assert_accounted(untroubled)
    assert len(events(untroubled)) == 400
    return Story(landing_dir, before, events(untroubled), collect(untroubled).sources)


def test_a_kill_at_any_step_towards_disk_is_made_good_by_the_next_run(story: Story, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.ingest_child", str(story.landing)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        for at in range(1, 500):
            warehouse = tmp_path / "warehouse"
            shutil.copytree(story.before, warehouse)
            child.stdin.write(f"{at} {warehouse}\n")
            child.stdin.flush()
            code = int(child.stdout.readline())
            assert code in (0, -9)
            with Ledger(warehouse / LEDGER_NAME, read_only=True) as ledger:
                assert ledger.is_whole()
                # Every batch that exists is whole: rows, digests, totals.
                assert damaged_parts(warehouse / "landed", ledger) == []
                for content in ledger.contents():
                    assert sum(content.tally.values()) == 2 * content.tally.lines, content
            story.assert_reached_by(warehouse)
            if code == 0:
                break
            shutil.rmtree(warehouse)
        child.stdin.close()
    assert_rerun_changes_nothing(story.landing, warehouse)
    assert at > 25, f"only {at} steps were interrupted"


FAILING = """
import sys
from pathlib import Path
from log_ingest.errors import IngestError
from log_ingest.ingest import ingest
from tests.faults.ingest_child import SOURCES, interrupt
def fail():
    raise OSError(28, "No space left on device", "/the/place")
interrupt(int(sys.argv[3]), fail)
try:
    ingest(Path(sys.argv[1]), Path(sys.argv[2]), run_id="failing", sources=SOURCES)
except IngestError as error:
    print(error)
    sys.exit(1)
"""


@pytest.mark.parametrize("at", [1, 4, 9, 14, 19, 25])
def test_a_step_that_fails_names_the_path_and_is_made_good_by_the_next_run(
    story: Story, tmp_path: Path, at: int
) -> None:
    warehouse = tmp_path / "warehouse"
    shutil.copytree(story.before, warehouse)
    done = subprocess.run(
        [sys.executable, "-c", FAILING, str(story.landing), str(warehouse), str(at)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        assert done.returncode == 1, done.stderr
        assert "/the/place" in done.stdout and "run again" in done.stdout
        assert len(done.stdout.splitlines()) == 1
    story.assert_reached_by(warehouse)


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
    """A file system of its own at path. Skips where this user may not mount one."""
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True)
    if mounted.returncode:
        # A container may forbid it even to root: nothing that this project could install.
        pytest.skip("no file system may be mounted here: the test of a full disk needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_is_one_line_and_what_was_acknowledged_stays(landing: Path, tmp_path: Path) -> None:
    rng = random.Random(3)
    for part in range(6):
        # Random visitors do not compress.
        visitors = (f"{rng.getrandbits(128):032x}" for _ in range(20_000))
        logs(landing, f"a/{part}.log", *(line(part * 20_000 + n, visitor=v) for n, v in enumerate(visitors)))
    disk = tmp_path / "disk"
    with small_disk(disk, "2m"):
        warehouse = disk / "warehouse"
        with pytest.raises(IngestError) as failed:
            ingest(landing, warehouse, run_id="full")
        assert "\n" not in str(failed.value)
        with Ledger(warehouse / LEDGER_NAME, read_only=True) as ledger:
            assert ledger.is_whole()
            assert damaged_parts(warehouse / "landed", ledger) == []
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        ingest(landing, warehouse, run_id="more space")
        assert_accounted(warehouse)
        assert_nothing_left_behind(warehouse)
        assert len(events(warehouse)) == 120_000


LIMITED = """
import resource, sys
from pathlib import Path
from log_ingest.errors import IngestError
from log_ingest.ingest import ingest
soft = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_AS, (soft, soft))
try:
    ingest(Path(sys.argv[1]), Path(sys.argv[2]), run_id="limited")
except IngestError as error:
    print(error)
    sys.exit(1)
"""


def test_too_little_memory_loses_nothing(landing: Path, warehouse: Path) -> None:
    """One line of words where Python is told; native code that is refused memory may also die as by a signal."""
    logs(landing, "a/x.log", *numbered(200_000))
    used = 1 << 30
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(landing), str(warehouse), str(used)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode in (1, -signal.SIGSEGV, -signal.SIGABRT), (done.returncode, done.stderr[-2000:])
    assert done.returncode < 0 or len(done.stdout.splitlines()) == 1, done.stdout
    ingest(landing, warehouse, run_id="after")
    assert_accounted(warehouse)
    assert len(events(warehouse)) == 200_000


def test_a_landed_file_that_rots_is_named(story: Story, tmp_path: Path) -> None:
    warehouse = tmp_path / "warehouse"
    shutil.copytree(story.before, warehouse)
    part = next((warehouse / "landed" / "tracking_logs").glob("batch_id=1/*.parquet"))
    data = bytearray(part.read_bytes())
    data[len(data) // 3] ^= 1
    part.write_bytes(data)
    with Ledger(warehouse / LEDGER_NAME, read_only=True) as ledger:
        name = f"tracking_logs/batch_id=1/{part.name}"
        assert damaged_parts(warehouse / "landed", ledger) == [(name, "its bytes are not those that were committed")]
        part.unlink()
        assert damaged_parts(warehouse / "landed", ledger) == [(name, "No such file or directory")]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_decompression_bomb_is_stopped(
    landing: Path, warehouse: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(files, "BOMB_BYTES", 4_000_000)
    bomb = b"0" * 60_000_000
    packed = gzip.compress(bomb) if suffix == ".gz" else zstandard.compress(bomb)
    logs(landing, f"a/bomb.log{suffix}", packed)
    logs(landing, "a/good.log", line(1))
    report = ingest(landing, warehouse, run_id="test")
    assert [problem.split(":")[0] for problem in report.problems] == [f"tracking_logs/a/bomb.log{suffix}"]
    assert report.totals["tracking_logs"].accepted == 1
    assert_accounted(warehouse)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("".join(line(n).decode() for n in range(1, 4)).encode("utf-16"), id="utf-16"),
        pytest.param("".join(line(n).decode() for n in range(1, 4)).encode("utf-32-be"), id="utf-32"),
        pytest.param(b"\xef\xbb\xbf" + b"".join(line(n) for n in range(1, 4)), id="byte order mark"),
        pytest.param(b"\0" * 5000 + b"\n" + line(1), id="NUL"),
        pytest.param(bytes(range(256)) * 40, id="every byte"),
        pytest.param(b"\r\n\n\r\r\n" + line(1) + b"\r" + line(2), id="every line end"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\n" * 3000, id="only line ends"),
        pytest.param(line(1, agent="\u202e\u0007".encode().decode()), id="bidi and bell"),
    ],
)
def test_bytes_that_are_no_log(landing: Path, warehouse: Path, data: bytes) -> None:
    logs(landing, "a/0x0000000000000001.log", data)
    logs(landing, "a/0x00000000000000FF.log", line(0xFF))
    ingest(landing, warehouse, run_id="test")
    assert_accounted(warehouse)
    assert_rerun_changes_nothing(landing, warehouse)


def test_an_unreadable_file_costs_itself_only(landing: Path, warehouse: Path) -> None:
    path = logs(landing, "a/secret.log", line(1))
    logs(landing, "a/open.log", line(2))
    path.chmod(0)
    if os.access(path, os.R_OK):
        # Root reads everything: a file whose disk fails is as good.
        path.unlink()
        path.symlink_to("/proc/self/mem")
    report = ingest(landing, warehouse, run_id="test")
    assert len(report.problems) == 1 and report.problems[0].startswith("tracking_logs/a/secret.log")
    assert report.totals["tracking_logs"].accepted == 1


class FailingFile(io.FileIO):
    """A file of which one read fails: the one that finds nothing left in the countdown."""

    def __init__(self, path: Path, countdown: list[int], number: int) -> None:
        super().__init__(path)
        self._countdown, self._number = countdown, number

    def readinto(self, buffer: bytearray) -> int:
        self._countdown[0] -= 1
        if self._countdown[0] == 0:
            raise OSError(self._number, os.strerror(self._number))
        return super().readinto(buffer)


@contextmanager
def a_read_that_fails(name: str, nth: int, number: int) -> Iterator[list[int]]:
    """The n-th read of the files of that name fails, as where a disk or a mount does; n 0: they cannot be opened."""
    countdown, before = [nth], Path.open

    def opened(path: Path, mode: str = "r", *rest: object, **more: object) -> object:
        if path.name != name:
            return before(path, mode, *rest, **more)
        if nth == 0:
            raise OSError(number, os.strerror(number))
        return io.BufferedReader(FailingFile(path, countdown, number), buffer_size=4096)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", opened)
        yield countdown


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_file_that_could_not_be_read_once_is_read_by_the_next_run(landing: Path, tmp_path: Path, suffix: str) -> None:
    pack = gzip.compress if suffix else bytes
    lines = numbered(90)
    name = f"b.log{suffix}"
    logs(landing, "a/a.log", *lines[:30])
    logs(landing, f"a/{name}", pack(b"".join(lines[30:60])))
    logs(landing, "a/c.log", *lines[60:])
    ingest(landing, tmp_path / "untroubled", run_id="untroubled")
    for nth in range(100):
        warehouse = tmp_path / f"warehouse-{nth}"
        with a_read_that_fails(name, nth, (errno.EACCES, errno.EIO, errno.ESTALE)[nth % 3]) as countdown:
            report = ingest(landing, warehouse, run_id="troubled")
        if nth and countdown[0] > 0:
            assert report.problems == []
            break
        (problem,) = report.problems
        assert problem.startswith(f"tracking_logs/a/{name}: ") and problem.endswith("; the next run tries again")
        assert collect(warehouse).problem_files == [(f"tracking_logs/a/{name}", problem)]
        # Where it failed behind the last byte, all lines are there already.
        missing = 90 - report.totals["tracking_logs"].accepted
        assert missing in (0, 30) and len(collect(warehouse).gaps) == (missing > 0)
        assert ingest(landing, warehouse, run_id="after").problems == []
        assert_accounted(warehouse)
        assert events(warehouse) == events(tmp_path / "untroubled")
        assert (collect(warehouse).gaps, collect(warehouse).problem_files) == ([], [])
        assert_nothing_left_behind(warehouse)
    assert_rerun_changes_nothing(landing, warehouse)
    assert nth > 3


def test_a_large_file_whose_disk_fails_amid_it_goes_on_where_it_was(landing: Path, warehouse: Path) -> None:
    lines = [line(number, agent="x" * 900_000) for number in range(1, 21)]
    logs(landing, "a/large.log", *lines)
    # The beginning is looked at for the identity and the format; of the chunks that follow, the last does not come.
    with a_read_that_fails("large.log", 5, errno.EIO) as countdown:
        report = ingest(landing, warehouse, run_id="troubled")
    assert countdown[0] <= 0 and len(report.problems) == 1
    assert 0 < report.totals["tracking_logs"].lines < 20
    report = ingest(landing, warehouse, run_id="after")
    assert (report.problems, collect(warehouse).gaps, len(events(warehouse))) == ([], [], 20)
    assert_accounted(warehouse)
    assert_rerun_changes_nothing(landing, warehouse)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_reference_file_that_could_not_be_read_once_is_read_by_the_next_run(
    landing: Path, warehouse: Path, form: str
) -> None:
    path = landing / "reference" / "recipients" / f"r.{form}"
    path.parent.mkdir(parents=True)
    if form == "csv":
        path.write_text("recipient_id\n7\n")
    else:
        pq.write_table(pa.table({"recipient_id": [7]}), path)
    with a_read_that_fails(path.name, 0, errno.EACCES):
        report = ingest(landing, warehouse, run_id="troubled")
    assert report.problems == [f"reference/recipients/r.{form}: Permission denied; the next run tries again"]
    report = ingest(landing, warehouse, run_id="after")
    assert (report.problems, report.totals["recipients"].accepted) == ([], 1)


def test_a_parquet_file_that_pyarrow_cannot_open_once_is_tried_again(
    landing: Path, warehouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = landing / "reference" / "recipients" / "r.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"recipient_id": [7]}), path)

    def refuse(source: object) -> None:
        raise PermissionError(errno.EACCES, f"Failed to open local file {source!r}")

    with monkeypatch.context() as patch:
        patch.setattr(pq, "ParquetFile", refuse)
        report = ingest(landing, warehouse, run_id="troubled")
    assert report.problems == ["reference/recipients/r.parquet: Permission denied; the next run tries again"]
    assert ingest(landing, warehouse, run_id="after").totals["recipients"].accepted == 1


def test_many_tiny_files_are_a_few_batches_in_bounded_memory(landing: Path, warehouse: Path) -> None:
    count = 1500
    for number in range(count):
        logs(landing, f"s{number % 7}/{number}.log", line(number, server="56"[number % 2]))
    report = ingest(landing, warehouse, run_id="test")
    assert report.totals["tracking_logs"].accepted == count
    assert len(report.batch_ids) == 2, "one of lines, one of user agents"
    assert_accounted(warehouse)
    assert_rerun_changes_nothing(landing, warehouse)
