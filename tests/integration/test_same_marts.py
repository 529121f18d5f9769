"""Any order, split, overlap, renaming and repetition, over several runs instead of one, gives identical marts; a
rebuild from landed data equals the warehouse that grew run by run; a version made of changed rows one copied whole."""

import csv
import gzip
import random
import re
import shutil
from pathlib import Path

import pytest

from log_ingest.sample import write_sample
from orchestration import identifiers, published_tables, row_changes
from orchestration.identifiers import Masks
from orchestration.lineage import Table
from orchestration.publication import current
from orchestration.published_tables import PublishedTables
from orchestration.row_changes import ChangedKeys
from tests import published
from tests.invariants import assert_accounted
from tests.marts import PROJECT, assert_same_tables, build_marts, connect, tables
from tests.published import assert_same_version, publish_marts

RUNS = 5


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sample") / "landing"
    write_sample(directory, events=6_000, seed=7)
    return directory


@pytest.fixture(scope="module")
def in_one_run(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    warehouse = tmp_path_factory.mktemp("one") / "warehouse"
    build_marts(sample, warehouse)
    return warehouse


@pytest.fixture(scope="module")
def in_many_runs(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same data as another courier would bring it: cut, shuffled, doubled, renamed, in several runs."""
    base = tmp_path_factory.mktemp("many")
    landing, warehouse = base / "landing", base / "warehouse"
    patched = pytest.MonkeyPatch()
    # Each run brings a fifth of all rows and changes many more.
    patched.setattr(row_changes, "MOST", 2)
    rng = random.Random(11)
    # Providers are told apart by their folders; servers and sites are not.
    sources = {"tracking_logs": ".log", "access_logs": ".log"}
    sources |= {f"esp_events/{path.name}": ".jsonl" for path in sorted((sample / "esp_events").iterdir())}
    lines: dict[str, list[bytes]] = {}
    for source in sources:
        files = sorted(path for path in (sample / source).rglob("*") if path.is_file())
        lines[source] = [line for path in files for line in _complete_lines(path)]
        lines[source] += rng.choices(lines[source], k=len(lines[source]) // 10)
        rng.shuffle(lines[source])
    references = sorted((sample / "reference").rglob("*.*"))
    rng.shuffle(references)
    for run in range(RUNS):
        for source, suffix in sources.items():
            share = b"".join(lines[source][run::RUNS])
            folder = landing / source / rng.choice(["x", "y"])
            folder.mkdir(parents=True, exist_ok=True)
            if run % 3:
                (folder / f"{run}{suffix}").write_bytes(share)
            else:
                (folder / f"{run}{suffix}.gz").write_bytes(gzip.compress(share))
        for path in references[run::RUNS]:
            target = landing / path.relative_to(sample)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
            again = target.with_name("again-" + target.name)
            shutil.copy2(path, again)
        build_marts(landing, warehouse)
        publish_marts(warehouse, warehouse / "published")
    patched.undo()
    assert_accounted(warehouse)
    return warehouse


def _complete_lines(path: Path) -> list[bytes]:
    import zstandard

    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    elif path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return [line for line in data.splitlines(keepends=True) if line.endswith(b"\n")]


def test_shuffled_runs_give_the_marts_of_one(in_one_run: Path, in_many_runs: Path) -> None:
    assert_same_tables(tables(in_one_run), tables(in_many_runs))


def test_a_rebuild_equals_the_warehouse_that_grew(in_many_runs: Path, tmp_path: Path) -> None:
    grown = tables(in_many_runs)
    rebuilt = tmp_path / "warehouse"
    shutil.copytree(in_many_runs / "landed", rebuilt / "landed")
    shutil.copy(in_many_runs / "ledger.sqlite", rebuilt / "ledger.sqlite")
    empty = tmp_path / "landing"
    empty.mkdir()
    build_marts(empty, rebuilt)
    assert_same_tables(tables(rebuilt), grown)


def test_models_made_in_parts_hold_what_is_made_at_once(sample: Path, tmp_path: Path) -> None:
    """Lines of one pointer that contradict each other are of messages in different parts."""
    landing = tmp_path / "landing"
    shutil.copytree(sample, landing)
    log = min(path for path in (landing / "tracking_logs").rglob("*.log"))
    fields = [line.split(b"\t", 1) for line in _complete_lines(log)[:40]]
    swapped = [pointer + b"\t" + rest for (pointer, _), (_, rest) in zip(fields[::2], fields[1::2], strict=True)]
    log.with_name("contradicts.log").write_bytes(b"".join(swapped))
    project = tmp_path / "dbt_project"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    settings = project / "dbt_project.yml"
    text = settings.read_text(encoding="utf-8")
    in_parts = re.sub("rows_of_part: [0-9]+", "rows_of_part: 1000", text)
    assert in_parts != text
    settings.write_text(in_parts, encoding="utf-8")
    at_once, parts = tmp_path / "at-once", tmp_path / "parts"
    build_marts(landing, at_once)
    build_marts(landing, parts, project=project)
    for model in (
        *("int_tracking_events__judged", "int_messages__current", "int_recipients__current"),
        *("rpt_tracking_indicators_by_domain", "rpt_tracking_statistics"),
    ):
        made = next((parts / "dbt-target").rglob(f"run/**/{model}.sql"))
        assert made.read_text(encoding="utf-8").count("insert into") > 5, model
    schemas = ("intermediate", "core", "reports")
    assert_same_tables(tables(at_once, schemas), tables(parts, schemas))
    with connect(parts) as connection:
        contested = "select count(*) from core.fct_tracking_events where is_pointer_conflict"
        assert connection.execute(contested).fetchall()[0][0] >= 2 * len(swapped)


def test_a_version_of_changed_rows_equals_one_that_is_copied_whole(in_many_runs: Path, tmp_path: Path) -> None:
    grown = in_many_runs / "published"
    assert current(grown).added == RUNS - 1
    publish_marts(in_many_runs, tmp_path / "whole", is_whole=True)
    assert_same_version(grown, tmp_path / "whole")


def test_a_version_that_is_made_piece_by_piece_equals_one_that_is_made_at_once(
    in_many_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranges, persons = PublishedTables._ranges, Masks.persons
    publish_marts(in_many_runs, tmp_path / "at-once", is_whole=True)
    monkeypatch.setattr(published_tables, "SORTED_AT_ONCE", 700)
    monkeypatch.setattr(identifiers, "KNOWN_AT_ONCE", 300)
    pieces = []
    monkeypatch.setattr(PublishedTables, "_ranges", lambda *of: pieces.append(ranges(*of)) or pieces[-1])
    monkeypatch.setattr(Masks, "persons", lambda *of: pieces.append(of) or persons(*of))
    publish_marts(in_many_runs, tmp_path / "in-pieces", is_whole=True)
    assert sum(isinstance(found, list) and len(found) > 1 for found in pieces) >= 5, "of tables that are sorted"
    assert sum("% " in str(found) for found in pieces) > 1
    assert_same_version(tmp_path / "at-once", tmp_path / "in-pieces")


def test_only_changed_rows_are_written(in_many_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which the comparison above would say nothing."""
    warehouse = tmp_path / "warehouse"
    shutil.copytree(in_many_runs, warehouse, symlinks=True)
    replaced, copied = set(), set()

    def replace_rows(self: PublishedTables, table: Table, changed: ChangedKeys) -> int:
        replaced.add(table)
        return original_replace(self, table, changed)

    def copy(self: PublishedTables, table: Table) -> int:
        copied.add(table)
        return original_copy(self, table)

    original_replace, original_copy = published._replace_rows, PublishedTables.copy
    monkeypatch.setattr(published, "_replace_rows", replace_rows)
    monkeypatch.setattr(PublishedTables, "copy", copy)
    publish_marts(warehouse, warehouse / "published")
    rows = {("core", "fct_tracking_events"), ("core", "fct_messages"), ("reports", "profile_tracking")}
    of_deliveries = {("core", "agg_person_clicks"), ("reports", "rpt_tracking_indicators")}
    assert replaced >= rows | of_deliveries
    assert len(replaced) == 10 + 24 and not replaced & copied
    # Other models may have made other rows of what was not logged.
    replaced.clear()
    assert publish_marts(warehouse, warehouse / "published", digest="other").added == 0
    assert not replaced


def test_a_full_refresh_changes_nothing(in_many_runs: Path, tmp_path: Path) -> None:
    grown = tables(in_many_runs)
    empty = tmp_path / "landing"
    empty.mkdir()
    build_marts(empty, in_many_runs, full_refresh=True)
    assert_same_tables(tables(in_many_runs), grown)


def test_the_sample_is_not_trivial(sample: Path) -> None:
    """The comparisons above mean something only if there is something to compare."""
    with (sample / "truth" / "rpt_tracking_indicators.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) >= 8
    assert sum(int(row["total_click_count"]) for row in rows) > 200
