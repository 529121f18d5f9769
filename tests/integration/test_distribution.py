"""What `make dist` builds can be installed, and works from an empty folder without writing into the installation."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT

UV = Path(sys.executable).with_name("uv")
SCRIPTS = {"dbt": "dbt.cli.main:cli"}
"""Commands of dependencies that the pipeline starts; they lie beside the interpreter of an installation."""


@dataclass(frozen=True)
class Installation:
    """A virtual environment that holds the wheel, and an empty folder to work in."""

    environment: Path
    folder: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        keep = {key: value for key, value in os.environ.items() if not key.startswith(("MTW_", "DAGSTER_", "PYTHON"))}
        return subprocess.run(
            [str(self.environment / "bin" / command[0]), *command[1:]],
            cwd=self.folder, env=keep | {"COLUMNS": "160"}, capture_output=True, text=True, timeout=600,
        )  # fmt: skip

    def files(self) -> dict[str, bytes]:
        """What is installed, but for bytecode."""
        (packages,) = self.environment.glob("lib/python*/site-packages")
        return {
            str(path.relative_to(packages)): path.read_bytes()
            for path in packages.rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with wheel and sdist."""
    folder = tmp_path_factory.mktemp("dist")
    command = ["build", "--quiet", "--offline", "--no-build-isolation", "--python", sys.executable]
    done = subprocess.run([str(UV), *command, "--out-dir", str(folder), str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The dependencies are those of this environment, found through a path file; of the checkout nothing is found."""
    base = tmp_path_factory.mktemp("installed")
    environment, folder = base / "venv", base / "empty"
    folder.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    done = subprocess.run(
        [str(UV), "pip", "install", "--quiet", "--offline", "--no-deps", "--python", str(python), str(wheel)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (packages,) = environment.glob("lib/python*/site-packages")
    # A plain path: the path files of that folder, the checkout's among them, are not followed.
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    for name, target in SCRIPTS.items():
        module, function = target.split(":")
        script = environment / "bin" / name
        script.write_text(f"#!{python}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
        script.chmod(0o755)
    yield Installation(environment, folder)


def test_the_sdist_holds_what_is_built_from(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "requirements.lock", "Makefile", "LICENSE", "dbt_project/dbt_project.yml"} <= names
    assert {"docs/tutorial.md", "tests/conftest.py", "workspace.yaml"} <= names
    assert not {name for name in names if name.startswith((".venv", "data/", ".ci", "dbt_project/target"))}


def test_the_installation_is_whole(installed: Installation) -> None:
    """Every file of the project that git knows below these folders, but for the linter's, is in the wheel."""
    known = subprocess.run(
        ["git", "ls-files", "log_ingest", "orchestration", "reports", "dbt_project", "collector", "workspace.yaml"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    beside = ("dbt_project", "collector", "workspace.yaml")
    wanted = {
        f"orchestration/shipped/{name}" if name.startswith(beside) else name
        for name in known
        if ".sqlfluff" not in name and (ROOT / name).exists()
    }
    found = installed.files()
    assert len(wanted) > 300
    assert sorted(wanted - set(found)) == []


def test_the_pipeline_runs_from_an_empty_folder(installed: Installation) -> None:
    before = installed.files()
    where = installed.run("python", "-c", "import orchestration.settings as s; print(s.__file__, s.IS_CHECKOUT)")
    assert where.stdout.startswith(str(installed.environment)), "not the checkout"
    assert where.stdout.endswith("False\n")
    helped = installed.run("mtw", "--help")
    assert helped.returncode == 0 and "quarantine" in helped.stdout
    assert installed.run("mtw", "sample", "--events", "1000", "data/landing").returncode == 0
    done = installed.run("mtw", "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "version 000001" in done.stdout and ", 0 failed" in done.stdout
    assert "\n  mtw status " in done.stdout and "\n  mtw serve " in done.stdout, "commands as they are typed here"
    assert (installed.folder / "data/warehouse/published/marts.duckdb").exists()
    assert {path.name for path in installed.folder.iterdir()} == {"data"}
    assert installed.files() == before, "nothing is written into the installation"


def test_rules_are_changed_in_a_copy(installed: Installation) -> None:
    (installed.folder / "ranges.csv").write_text("192.0.2.0/24\n")
    refused = installed.run("mtw", "machine-networks", "apple_private_relay", "ranges.csv")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "mtw dbt-project DIR" in refused.stderr
    copied = installed.run("mtw", "dbt-project", "models")
    assert copied.returncode == 0 and "MTW_DBT_PROJECT_DIR=models" in copied.stdout
    (installed.folder / ".env").write_text("MTW_DBT_PROJECT_DIR=models\n")
    changed = installed.run("mtw", "machine-networks", "apple_private_relay", "ranges.csv")
    assert changed.returncode == 0, changed.stderr
    assert "192.0.2.0,192.0.2.255" in (installed.folder / "models/seeds/machine_networks.csv").read_text()
    again = installed.run("mtw", "dbt-project", "models")
    assert again.returncode == 1 and "is not empty" in again.stderr
    (installed.folder / ".env").unlink()


def test_what_serves_is_found(installed: Installation) -> None:
    """The workspace and the pages' start, as `mtw serve` names them; serving itself has tests of its own."""
    code = (
        "import json; from orchestration import serve; from orchestration.access import Access;"
        "print(json.dumps([str(serve.WORKSPACE), str(serve.PAGES_DIR), serve.pages_command(Access('h', 'h'), 1)[4]]))"
    )
    found = json.loads(installed.run("python", "-c", code).stdout)
    assert all(Path(path).exists() and path.startswith(str(installed.environment)) for path in found)
    assert (Path(found[1]) / ".streamlit" / "config.toml").is_file()
