"""Several processes take in one landing folder at the same time, with a ledger in a real PostgreSQL: no line is taken
twice, none is lost, whoever dies when, and whoever commits first.
"""

import gzip
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from log_ingest import take_lines, workers
from log_ingest.audit import damaged_parts
from log_ingest.catalog import LINE_SOURCES
from log_ingest.files import LandingPlace
from log_ingest.formats.line_format import ParseSettings
from log_ingest.formats.registry import LINE_FORMATS
from log_ingest.identify import Siblings
from log_ingest.ingest import SEAL_AFTER, ingest
from log_ingest.landing import Landing
from log_ingest.ledger import Commit, Ledger
from log_ingest.ledger_database import PostgresUrl
from log_ingest.progress import NullProgress
from log_ingest.status import collect
from log_ingest.take_lines import BatchOvertaken, LineIntake
from tests.accesslines import access_log, hit, request
from tests.espevents import jsonl, sendgrid
from tests.faults.trials import served
from tests.invariants import EMPTY, assert_accounted, assert_rerun_changes_nothing, landed, query
from tests.loglines import logs, numbered
from tests.postgres import Server

AT = 1_714_557_600


@pytest.fixture
def ledger_at(postgres: Server) -> PostgresUrl:
    return PostgresUrl(postgres.new_database().url)


def accepted(warehouse: Path) -> dict[str, Counter[tuple]]:
    """By line source: how often each accepted event stands in the landed rows."""
    return {
        source: Counter(query(f"select {LINE_FORMATS[source].identity} from {landed(warehouse, source)}"))
        for source in LINE_FORMATS
    }


def assert_sound(warehouse: Path, ledger_at: PostgresUrl) -> None:
    """What holds at any moment: every batch that exists is whole, every file's totals add up."""
    with Ledger(ledger_at, read_only=True) as ledger:
        assert ledger.unbalanced() == []
        assert damaged_parts(warehouse / "landed", ledger) == []


def assert_nothing_left(warehouse: Path, ledger_at: PostgresUrl) -> None:
    with Ledger(ledger_at, read_only=True) as ledger:
        known = {row["path"] for row in ledger.parts()}
        assert any(ledger.workers() == set() or time.sleep(0.05) for _ in range(100))
    found = {str(path.relative_to(warehouse / "landed")) for path in (warehouse / "landed").rglob("*/*.parquet")}
    assert {path for path in found if EMPTY not in path} == known
    assert list((warehouse / "landed" / ".temp").glob("*")) == []


class Couriers:
    """A landing folder that grows from round to round: overlapping extracts, copies, lines that come again."""

    def __init__(self, landing: Path, seed: int) -> None:
        self.landing, self._dice = landing, random.Random(seed)
        self._lines = {server: numbered(1000, server=server) for server in "56"}
        self._hits = [hit(1000 + n, at=f"01/May/2024:10:{n // 60:02d}:{n % 60:02d} +0000") for n in range(300)]
        self._events = [sendgrid(("open", "click")[n % 2], AT + n, f"{n % 7}@example.org") for n in range(300)]

    def bring(self, number: int) -> None:
        dice = self._dice
        for server, lines in self._lines.items():
            for file in range(4):
                start = dice.randrange(300 * number, 300 * number + 200)
                some = lines[start : start + dice.randrange(20, 180)]
                if dice.random() < 0.3:
                    some.insert(dice.randrange(len(some)), b"no line at all\n")
                is_copied = dice.random() < 0.4
                held = b"" if is_copied or dice.random() < 0.5 else lines[start + 190][:30]
                logs(self.landing, f"{server}/{number}-{file}.log", *some, held)
                if is_copied:
                    logs(self.landing, f"again-{server}/{number}-{file}.log.gz", gzip.compress(b"".join(some)))
            # Grows from round to round; its beginning is shorter than what contents are told apart by at first.
            with logs(self.landing, f"{server}/grows.log").open("ab") as growing:
                growing.writelines(lines[: (20, 150, 400)[number]])
        for file in range(4):
            start = dice.randrange(100 * number, 100 * number + 60)
            others = [request(f"/img/{n}.png", status=200) for n in range(3)]
            access_log(self.landing, f"shop/{number}-{file}.log", *self._hits[start : start + 60], *others)
            batch = self._events[start : start + 60]
            # A line of several events, of which another file's line has only some.
            jsonl(self.landing, f"sendgrid/{number}-{file}.jsonl", *batch[:20], batch[20 : 25 + file], *batch[30:])


@pytest.mark.parametrize("seed", [1, 2])
def test_workers_that_die_at_random_lose_nothing_and_take_nothing_twice(
    seed: int, tmp_path: Path, ledger_at: PostgresUrl
) -> None:
    landing, warehouse, alone = tmp_path / "landing", tmp_path / "warehouse", tmp_path / "alone"
    couriers = Couriers(landing, seed)
    deaths = 0
    with served("tests.faults.workers_child") as trial:
        for number in range(3):
            couriers.bring(number)
            deaths += trial(f"{seed}-{number}", landing, warehouse, ledger_at.url)
            assert_sound(warehouse, ledger_at)
            ingest(landing, alone, run_id=str(number))
    assert deaths > 3
    ingest(landing, warehouse, run_id="calm", ledger_at=ledger_at)
    assert_sound(warehouse, ledger_at)
    assert_accounted(warehouse, ledger_at=ledger_at)
    found = accepted(warehouse)
    assert found == accepted(alone)
    assert {source: max(counts.values()) for source, counts in found.items()} == dict.fromkeys(LINE_FORMATS, 1)
    assert min(map(len, found.values())) > 100
    gaps = collect(warehouse, ledger_at=ledger_at).gaps
    assert gaps and gaps == collect(alone).gaps
    assert_nothing_left(warehouse, ledger_at)
    assert_rerun_changes_nothing(landing, warehouse, ledger_at=ledger_at)


# -- interleavings, one by one


@dataclass
class Worker:
    """One of several processes, as far as the ledger and the landed folder can tell: in this process, step by step."""

    landing_dir: Path
    ledger: Ledger
    landing: Landing

    @classmethod
    def start(cls, landing: Path, warehouse: Path, ledger_at: PostgresUrl, held: ExitStack) -> "Worker":
        ledger = held.enter_context(Ledger(ledger_at))
        return cls(landing, ledger, held.enter_context(closing(Landing(warehouse, ledger))))

    def intake(self, source: str) -> LineIntake:
        (found,) = (entry for entry in LINE_SOURCES if entry.name == source)
        return LineIntake(
            found, LINE_FORMATS[source], self.landing, self.ledger, run_id="run",
            settings=ParseSettings(datetime.now(UTC).replace(tzinfo=None)), seal_after=SEAL_AFTER,
            progress=NullProgress(),
        )  # fmt: skip

    def take(self, lines: LineIntake, *names: str) -> None:
        files, _ = LandingPlace(self.landing_dir).discover(lines.source.folder, lines.source.suffixes)
        for file in files:
            if file.name.endswith(names):
                lines.take(file, Siblings(files))


@pytest.fixture
def pair(
    landing: Path, warehouse: Path, ledger_at: PostgresUrl, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Worker, Worker]]:
    """Two workers who write a part, compared with all that came before, as soon as they have read a file."""
    monkeypatch.setattr(take_lines, "PART_BLOCKS", 1)
    with ExitStack() as held:
        yield tuple(Worker.start(landing, warehouse, ledger_at, held) for _ in range(2))  # type: ignore[misc]


def write_overlapping(landing: Path, source: str) -> int:
    """Two files, one.* and two.*, that have lines in common; returns how many distinct events there are."""
    if source == "tracking_logs":
        lines = numbered(100)
        logs(landing, "a/one.log", *lines[:70])
        logs(landing, "b/two.log", *lines[40:])
        return 100
    if source == "access_logs":
        hits = [hit(1000 + n, at=f"01/May/2024:10:00:{n % 60:02d} +0000") for n in range(100)]
        access_log(landing, "shop/one.log", *hits[:70])
        access_log(landing, "shop/two.log", *hits[40:])
        return 100
    events = [sendgrid("open", AT + n) for n in range(100)]
    jsonl(landing, "sendgrid/one.jsonl", *events[:50], events[50:60])
    # Lines of several events of which none, some, or all came before.
    jsonl(landing, "sendgrid/two.jsonl", events[55:65], events[40:45], *events[65:])
    return 100


@pytest.mark.parametrize("source", LINE_FORMATS)
def test_lines_that_another_committed_meanwhile_are_duplicates(
    source: str, landing: Path, warehouse: Path, ledger_at: PostgresUrl, pair: tuple[Worker, Worker]
) -> None:
    count = write_overlapping(landing, source)
    first, second = (worker.intake(source) for worker in pair)
    # Both have read everything before either commits.
    pair[0].take(first, "one.log", "one.jsonl")
    pair[1].take(second, "two.log", "two.jsonl")
    second.finish()
    first.finish()
    assert sum(accepted(warehouse)[source].values()) == len(accepted(warehouse)[source]) == count
    assert_accounted(warehouse, ledger_at=ledger_at)
    assert first.totals.duplicate + second.totals.duplicate == {"esp_events": 5}.get(source, 30)
    assert collect(warehouse, ledger_at=ledger_at).gaps == []


def test_runs_of_pointers_of_two_batches_are_merged_whoever_commits_first(
    landing: Path, warehouse: Path, ledger_at: PostgresUrl, pair: tuple[Worker, Worker]
) -> None:
    lines = numbered(100)
    logs(landing, "a/one.log", *lines[:40], *lines[60:80])
    logs(landing, "b/two.log", *lines[40:60], *lines[90:])
    first, second = (worker.intake("tracking_logs") for worker in pair)
    pair[0].take(first, "one.log")
    pair[1].take(second, "two.log")
    second.finish()
    first.finish()
    (gap,) = collect(warehouse, ledger_at=ledger_at).gaps
    assert (gap.first_missing_pointer - 0xFD7E000, gap.missing_count) == (80, 10)


def finish_overtaken(worker: Worker, lines: LineIntake, name: str) -> None:
    """Find that another process was faster, and make the batch anew."""
    with pytest.raises(BatchOvertaken):
        lines.finish()
    lines.discard()
    worker.take(lines, name)
    lines.finish()


def test_a_batch_that_goes_on_with_what_another_took_is_made_anew(
    landing: Path, warehouse: Path, ledger_at: PostgresUrl, pair: tuple[Worker, Worker]
) -> None:
    lines = numbered(100)
    logs(landing, "a/one.log", *lines[:10])
    begun = pair[0].intake("tracking_logs")
    pair[0].take(begun, "one.log")
    begun.finish()
    logs(landing, "a/one.log", *lines)
    first, second = (worker.intake("tracking_logs") for worker in pair)
    for worker, lines_of in zip(pair, (first, second), strict=True):
        worker.take(lines_of, "one.log")
    second.finish()
    finish_overtaken(pair[0], first, "one.log")
    assert_accounted(warehouse, ledger_at=ledger_at)
    assert (first.totals.lines, second.totals.lines) == (0, 90)
    assert set(accepted(warehouse)["tracking_logs"].values()) == {1}


def test_a_content_that_another_took_as_new_is_a_copy(
    landing: Path, warehouse: Path, ledger_at: PostgresUrl, pair: tuple[Worker, Worker]
) -> None:
    """What claims prevent, but for a file that grows between being claimed and being read."""
    logs(landing, "a/one.log", *numbered(20))
    logs(landing, "b/two.log", *numbered(20))
    first, second = (worker.intake("tracking_logs") for worker in pair)
    pair[0].take(first, "one.log")
    pair[1].take(second, "two.log")
    second.finish()
    finish_overtaken(pair[0], first, "one.log")
    assert_accounted(warehouse, ledger_at=ledger_at)
    assert (first.totals.files_duplicate, first.totals.lines) == (1, 0)


def test_claims_are_of_the_living(landing: Path, pair: tuple[Worker, Worker], ledger_at: PostgresUrl) -> None:
    one, other = (worker.ledger for worker in pair)
    assert one.claim("s", {"a", "b"}) == {"a", "b"}
    assert other.claim("s", {"b", "c"}) == {"c"}
    assert one.claim("s", {"a", "c", "d"}) == {"a", "d"}
    one.give_back("s", {"a"})
    assert other.claim("s", {"a", "b"}) == {"a"}
    with Ledger(ledger_at) as third:
        assert third.claim("s", {"e"}) == {"e"}
        assert other.claim("s", {"e"}) == set()
    # It is gone without having given anything back; the server needs a moment to see that.
    assert any(other.claim("s", {"e"}) or time.sleep(0.05) for _ in range(100))


def test_temporary_files_of_the_living_stay(
    warehouse: Path, ledger_at: PostgresUrl, pair: tuple[Worker, Worker]
) -> None:
    draft = pair[0].landing.new_unit().new_path("tracking_logs")
    draft.write_bytes(b"half a part")
    dead = warehouse / "landed/.temp/worker-99999/unit"
    dead.mkdir(parents=True)
    with Ledger(ledger_at) as ledger, closing(Landing(warehouse, ledger)):
        assert draft.exists()
        assert not dead.parent.exists()


def test_a_batch_that_was_put_in_place_and_not_committed_is_swept_away_by_the_next(
    landing: Path, warehouse: Path, ledger_at: PostgresUrl, pair: tuple[Worker, Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_overlapping(landing, "tracking_logs")
    write_overlapping(landing, "access_logs")
    dying = pair[0].intake("tracking_logs")
    pair[0].take(dying, "one.log")
    with monkeypatch.context() as patched:
        patched.setattr(pair[0].ledger, "commit", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            dying.finish()
    assert (warehouse / "landed/tracking_logs/batch_id=1").is_dir()
    pair[1].ledger.commit(None, Commit("access_logs", "run"))  # nothing is put in place for it
    living = pair[1].intake("access_logs")
    pair[1].take(living, "one.log")
    living.finish()
    assert living.batch_ids == [1]
    assert not (warehouse / "landed/tracking_logs/batch_id=1").exists()


def test_several_processes_of_one_run_report_what_all_of_them_did(
    landing: Path, warehouse: Path, tmp_path: Path, ledger_at: PostgresUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "WORTH_A_PROCESS_BYTES", 1000)
    start = workers.Workers.start

    def start_and_wait(self: workers.Workers, size: int) -> None:
        start(self, size)
        for process in self._processes:
            process.join()

    # So that this process, which is ready at once, leaves them something.
    monkeypatch.setattr(workers.Workers, "start", start_and_wait)
    couriers = Couriers(landing, 7)
    couriers.bring(0)
    report = ingest(landing, warehouse, run_id="three", ledger_at=ledger_at, worker_count=3)
    alone = ingest(landing, tmp_path / "alone", run_id="alone")
    assert report.problems == []
    assert accepted(warehouse) == accepted(tmp_path / "alone")
    for source, totals in report.totals.items():
        own = alone.totals[source]
        assert (totals.files_seen, totals.accepted) == (own.files_seen, own.accepted), source
    status = {source.source: source for source in collect(warehouse, ledger_at=ledger_at).sources}
    for source, found in status.items():
        assert (found.lines, found.accepted) == (report.totals[source].lines, report.totals[source].accepted)
    assert report.batch_ids == list(range(1, report.latest_batch_id + 1))


def test_a_worker_that_finds_nothing_writes_nothing(
    landing: Path, warehouse: Path, ledger_at: PostgresUrl, pair: tuple[Worker, Worker]
) -> None:
    logs(landing, "a/one.log", *numbered(20), b"half a li")
    report = workers.take_turn(workers.Job(landing, warehouse, None, ledger_at, "first", {}, SEAL_AFTER))
    assert report.totals["tracking_logs"].accepted == 20
    before = {path: path.stat().st_mtime_ns for path in warehouse.rglob("*") if path.is_file()}
    again = workers.take_turn(workers.Job(landing, warehouse, None, ledger_at, "again", {}, SEAL_AFTER))
    assert again.totals == {} and again.batch_ids == []
    assert {path: path.stat().st_mtime_ns for path in warehouse.rglob("*") if path.is_file()} == before
