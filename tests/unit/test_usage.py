"""What was asked for in a way that cannot be done ends with exit code 2 and one line, before anything is done."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestration.cli import main


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTW_WAREHOUSE_DIR", str(tmp_path / "warehouse"))
    monkeypatch.setenv("MTW_LANDING_DIR", str(tmp_path / "landing"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sample", "full"), "full is not empty"),
        (("sample", "s3://bucket/sample"), "a local folder"),
        (("sample", "--seed", "-1", "new"), "'--seed': -1"),
        (("dbt-project", "full"), "full is not empty"),
        (("run", "--ruleset", "nosuch", "--compare"), "no ruleset 'nosuch'"),
    ],
)
def test_wrong_usage(warehouse: Path, arguments: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(main, arguments)
    assert (done.exit_code, said in done.stderr) == (2, True), done.stderr
    assert not (warehouse / "warehouse").exists() and not (warehouse / "new").exists()


@pytest.mark.parametrize("command", ["status", "run"])
def test_a_setting_that_cannot_be_used_is_wrong_usage(
    warehouse: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("MTW_ENGINE", "nonsense")
    done = CliRunner().invoke(main, [command])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "MTW_ENGINE is 'nonsense'" in done.stderr
