"""Fixtures shared by all tests: empty folders, and one demo warehouse that many read-only tests look at."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
from filelock import FileLock

from log_ingest.storage import Location
from tests.installation import built, installed  # noqa: F401  (fixtures)
from tests.postgres import database, postgres  # noqa: F401  (fixtures)

ROOT = Path(__file__).parents[1]
SAMPLE_EVENTS = 30_000
SAMPLE_SEED = 20240501


LONG_FILES = (
    *("parity/test_local", "integration/test_tutorial", "integration/test_explain", "faults/test_two_schedulers"),
    *("integration/test_object_storage", "integration/test_retention", "integration/test_privacy"),
    *("faults/test_run_faults", "integration/test_same_marts", "integration/test_alerts", "faults/test_purge_faults"),
    *("faults/test_soak", "integration/test_add_your_own_report", "integration/test_restatements"),
    *("faults/test_erasure_faults", "integration/test_platform", "integration/test_postgres_copy"),
    *("faults/test_ingest_faults", "faults/test_build_faults", "integration/test_operations"),
)
"""Whole files go to one of the parallel test processes: the long ones first, so that at the end none is alone with one.

The first does without the demo, which the others wait for.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONG_FILES)}
    tests = Path(__file__).parent
    items.sort(key=lambda item: places.get(item.path.relative_to(tests).with_suffix("").as_posix(), len(LONG_FILES)))


_UMASK = os.umask(0o022)
os.umask(_UMASK)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """The command line restricts the files of its process. Run in this one, it would restrict those of all later tests,
    such as what a server of theirs has to read as another user."""
    os.umask(_UMASK)


def unless_required(reason: str) -> None:
    """Skip with a reason where the machine lacks something, but never where all must run (CI sets the variable)."""
    if os.environ.get("MTW_TESTS_REQUIRE_ALL"):
        pytest.fail(f"{reason} (MTW_TESTS_REQUIRE_ALL is set)")
    pytest.skip(reason)


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    path = tmp_path / "landing"
    path.mkdir()
    return path


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    return tmp_path / "warehouse"


def mtw(
    *arguments: str,
    landing: Location,
    warehouse: Path,
    timeout: float = 600,
    settings: dict[str, str] | None = None,
    python: Path = Path(sys.executable),
) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user would, in a process of its own, with nothing of this machine's settings.

    python: of the environment whose command it is.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MTW_", "DAGSTER_"))}
    environment |= {"MTW_LANDING_DIR": str(landing), "MTW_WAREHOUSE_DIR": str(warehouse), "COLUMNS": "160"}
    environment["MTW_RETRY_SECONDS"] = "0"  # a fault that is injected does not pass by itself
    environment |= settings or {}
    return subprocess.run(
        [str(python.with_name("mtw")), *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@dataclass(frozen=True)
class Demo:
    """The sample, taken through the whole pipeline by `mtw demo`. Read-only: tests do not change it."""

    landing: Path
    warehouse: Path
    output: str

    @property
    def published(self) -> Path:
        return Path(os.path.realpath(self.warehouse / "published" / "marts.duckdb"))

    def query(self, sql: str) -> list[tuple]:
        """Rows from the published database."""
        return self.table(sql)[1]

    def clear(self, sql: str) -> list[tuple]:
        """Rows from the file of clear values beside it."""
        with duckdb.connect(str(self.published.with_name("identities.duckdb")), read_only=True) as con:
            return con.execute(sql).fetchall()

    def table(self, sql: str) -> tuple[list[str], list[tuple]]:
        """Names of columns, and rows, from the published database."""
        with duckdb.connect(str(self.published), read_only=True) as con:
            found = con.execute(sql)
            return [column[0] for column in found.description], found.fetchall()


def made_once(
    tmp_path_factory: pytest.TempPathFactory, worker_id: str, name: str, make: Callable[[Path], None]
) -> Path:
    """A folder that all tests share and none changes; made by whichever of the parallel test processes comes first."""
    base = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    folder, done = base / name, base / f"{name}.made"
    with FileLock(base / f"{name}.lock"):
        if not done.exists():
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Demo:
    base = made_once(tmp_path_factory, worker_id, "demo", _make_demo)
    return Demo(base / "landing", base / "warehouse", (base / "output.txt").read_text(encoding="utf-8"))


def _make_demo(base: Path) -> None:
    landing, warehouse = base / "landing", base / "warehouse"
    made = mtw(
        "sample", "--events", str(SAMPLE_EVENTS), "--seed", str(SAMPLE_SEED), str(landing),
        landing=landing, warehouse=warehouse,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    done = mtw("demo", landing=landing, warehouse=warehouse)
    assert done.returncode == 0, done.stdout + done.stderr
    (base / "output.txt").write_text(done.stdout, encoding="utf-8")
