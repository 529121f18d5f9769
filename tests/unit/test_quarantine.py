"""The commands that show quarantined lines: what they print can be typed again."""

from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner, Result

from orchestration.cli import main

LONG_NAME = f"tracking_logs/{'x' * 300}/a b.log"


@pytest.fixture
def landed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Landed rows with one line that was set aside, of a file with a long name."""
    folder = tmp_path / "landed" / "set_aside" / "batch_id=1"
    folder.mkdir(parents=True)
    duckdb.sql(
        "select 'quarantined' as disposition, 'tracking_logs' as source, $1 as source_file, 12 as line_number,"
        " 40 as byte_offset, 'field_count' as reason, null as detail, 'broken'::blob as raw, now() as ingested_at",
        params=[LONG_NAME],
    ).write_parquet(str(folder / "part.parquet"))
    monkeypatch.setenv("MTW_LANDED_DIR", str(tmp_path / "landed"))
    monkeypatch.setenv("MTW_WAREHOUSE_DIR", str(tmp_path / "warehouse"))
    return tmp_path / "landed"


def quarantine(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["quarantine", *arguments])


@pytest.mark.parametrize("command", ["list", "replay"])
def test_a_source_that_is_none_is_wrong_usage(landed: Path, command: str) -> None:
    refused = quarantine(command, "--source", "nonsense")
    assert (refused.exit_code, "--source is one of tracking_logs, " in refused.stderr) == (2, True)
    assert quarantine("list", "--source", "deliveries").exit_code == 0


def test_a_long_name_is_listed_as_it_is_typed_to_see_the_line(landed: Path) -> None:
    listed = quarantine("list")
    assert f"{LONG_NAME} 12\n  field_count: broken\n" in listed.output
    shown = quarantine("show", LONG_NAME, "12")
    assert (shown.exit_code, "broken" in shown.output, "…" in shown.output) == (0, True, False)
