"""What `make dist` builds can be installed, and finds what it brings."""

import json
import subprocess
import tarfile
from pathlib import Path

from tests.conftest import ROOT
from tests.installation import Installation


def test_the_sdist_holds_what_is_built_from(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "requirements.lock", "Makefile", "LICENSE", "dbt_project/dbt_project.yml"} <= names
    assert {"docs/tutorial.md", "tests/conftest.py", "workspace.yaml"} <= names
    assert not {name for name in names if name.startswith((".venv", "data/", "dist/", ".git/", "dbt_project/target"))}


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


def test_an_installation_keeps_its_data_where_one_stands(installed: Installation) -> None:
    """The pipeline itself is run from the wheel by test_tutorial."""
    where = installed.run("python", "-c", "import orchestration.settings as s; print(s.__file__, s.IS_CHECKOUT)")
    assert where.stdout.startswith(str(installed.environment)), "not the checkout"
    assert where.stdout.endswith("False\n")
    helped = installed.run("mtw", "--help")
    assert helped.returncode == 0 and "quarantine" in helped.stdout
    missing = installed.run("mtw", "run")
    assert missing.returncode == 1
    assert f"landing folder {installed.folder}/data/landing does not exist" in missing.stderr
    assert f"into {installed.folder}/data/warehouse" in "".join(installed.run("mtw", "status").stdout.splitlines())


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
    assert again.returncode == 2 and "is not empty" in again.stderr
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
