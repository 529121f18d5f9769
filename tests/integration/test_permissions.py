"""Who may read the warehouse: asked of the system as another user where the tests run as root, else read off the
modes.
"""

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.permissions import UMASK, restrict
from orchestration.publish import publish
from orchestration.settings import Settings, SettingsError
from tests.conftest import mtw
from tests.integration.test_publish import make_working_database

NOBODY = 65534


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that other users can reach, as those of pytest are not."""
    with tempfile.TemporaryDirectory(prefix="mtw-modes-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def may_read(path: Path, *, group: int | None = None) -> bool:
    """Whether a user who is not the owner can, as a member of the file's group where group is given."""
    if os.geteuid() == 0:
        groups = ["--groups", str(group)] if group is not None else ["--clear-groups"]
        command = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), *groups, "test", "-r", str(path)]
        return subprocess.run(command).returncode == 0
    read, passing = (stat.S_IRGRP, stat.S_IXGRP) if group is not None else (stat.S_IROTH, stat.S_IXOTH)
    real = path.resolve()
    return bool(real.stat().st_mode & read) and all(one.stat().st_mode & passing for one in real.parents if one.owner())


def test_who_may_not_read_the_landed_rows_is_told_so(reachable: Path) -> None:
    """And not that there are none."""
    landed = reachable / "warehouse" / "landed"
    (landed / "set_aside" / "batch_id=1").mkdir(parents=True)
    command = [str(Path(sys.executable).with_name("mtw")), "quarantine", "list"]
    settings = {"MTW_WAREHOUSE_DIR": str(reachable / "warehouse"), "MTW_LANDING_DIR": str(reachable / "landing")}
    # Root without the right to look everywhere, as another user might not reach the checkout.
    bounded = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"] if os.geteuid() == 0 else []
    for closed in (landed / "set_aside" / "batch_id=1", landed / "set_aside", landed, reachable / "warehouse"):
        closed.chmod(0)
        done = subprocess.run([*bounded, *command], env={**os.environ, **settings}, capture_output=True, text=True)
        closed.chmod(0o700)
        assert (done.returncode, "Permission denied" in done.stderr) == (1, True), (closed, done.stderr)
    done = subprocess.run([*bounded, *command], env={**os.environ, **settings}, capture_output=True, text=True)
    assert "nothing was taken in yet" in done.stderr


def published(root: Path, mode: int | None) -> Path:
    """The published file of a warehouse in root."""
    settings = Settings(root / "landing", root / "warehouse")
    restrict()
    settings.warehouse_dir.mkdir()
    make_working_database(settings.working_database)
    publish(
        settings.working_database, settings.published_dir, run_id="run", batch_id=1, build_digest="digest", mode=mode
    )
    return settings.published_database


@pytest.mark.parametrize(
    ("mode", "others", "group"), [(None, False, True), (0o400, False, False), (0o440, False, True), (0o444, True, True)]
)
def test_who_reads_what_is_published(
    reachable: Path, usual_umask: None, mode: int | None, others: bool, group: bool
) -> None:
    path = published(reachable, mode)
    parquet = path.with_name("marts") / "core" / "fct_opens.parquet"
    gid = path.stat().st_gid
    for file in (path, parquet):
        assert file.read_bytes()
        assert may_read(file) == others
        assert may_read(file, group=gid) == group
    # Whatever is published, nothing else is open.
    working = reachable / "warehouse" / "work" / "warehouse.duckdb"
    assert not may_read(working) and stat.S_IMODE(working.stat().st_mode) == 0o640
    assert not (reachable / "warehouse").stat().st_mode & stat.S_IROTH


def test_a_stricter_umask_stays(reachable: Path) -> None:
    before = os.umask(0o077)
    try:
        path = published(reachable, None)
        assert os.umask(0o077) == 0o077
        assert stat.S_IMODE(path.resolve().stat().st_mode) == 0o400
        assert stat.S_IMODE((reachable / "warehouse").stat().st_mode) == 0o700
    finally:
        os.umask(before)


def test_the_command_writes_nothing_that_others_may_read(reachable: Path, usual_umask: None) -> None:
    landing, warehouse = reachable / "landing", reachable / "warehouse"
    made = mtw("sample", "--events", "1000", str(reachable / "sample"), landing=landing, warehouse=warehouse)
    assert made.returncode == 0, made.stderr
    for path in (reachable / "sample").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o750 if path.is_dir() else 0o640), path


def test_a_mode_that_is_none_is_named() -> None:
    for text in ("0777", "rw-r--r--", "644"):
        with pytest.raises(SettingsError, match="MTW_PUBLISHED_MODE is "):
            Settings.load({"MTW_PUBLISHED_MODE": text}, dotenv=Path("/nowhere"))
    assert Settings.load({"MTW_PUBLISHED_MODE": "0444"}, dotenv=Path("/nowhere")).published_mode == 0o444
    assert UMASK == 0o027
