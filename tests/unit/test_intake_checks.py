"""The two thresholds of the intake: what passes, what warns, and that it says where to look."""

from pathlib import Path

import pytest

from log_ingest.ingest import LEDGER_NAME, ingest
from log_ingest.ledger import Ledger
from orchestration.checks.intake import gap_verdicts, quarantine_verdicts
from orchestration.settings import Settings, SettingsError
from tests.loglines import line, logs


@pytest.fixture
def ledger(landing: Path, warehouse: Path) -> Ledger:
    """Server 5: pointers 1 to 100 without 41 to 50; 4 of 96 lines quarantined. Server 6 is complete."""
    logs(landing, "a/x.log", *(line(n) for n in range(1, 41)), *(line(n) for n in range(51, 101)))
    logs(landing, "b/y.log", line(1, server="6"), line(2, server="6"), *(b"no line\n" for _ in range(4)))
    ingest(landing, warehouse, run_id="test")
    return Ledger(warehouse / LEDGER_NAME, read_only=True)


@pytest.mark.parametrize(("threshold", "passes"), [(0.05, True), (4 / 96, True), (0.04, False), (0.0, False)])
def test_quarantine_rate(ledger: Ledger, threshold: float, passes: bool) -> None:
    (verdict,) = quarantine_verdicts(ledger, threshold)
    assert (verdict.passed, verdict.severity, verdict.offending) == (passes, "warning", 4)
    assert list(verdict.sample) == [{"file": "tracking_logs/b/y.log", "lines": 6, "quarantined": 4}]


@pytest.mark.parametrize(("threshold", "passes"), [(0.1, True), (0.099, False), (0.0, False)])
def test_missing_rate(ledger: Ledger, threshold: float, passes: bool) -> None:
    verdicts, facts = gap_verdicts(ledger, threshold)
    assert [verdict.passed for verdict in verdicts] == [passes, True]
    assert facts == {"gaps": 1, "missing_lines": 10}
    assert verdicts[0].sample[0] == {
        **{"server": "5", "first": "0x29", "last": "0x32", "lines": 10},
        **{"after": "2024-05-01T10:00:00.000000", "before": "2024-05-01T10:00:00.000000"},
    }


@pytest.mark.parametrize("value", ["2", "-0.1", "much", "nan"])
def test_a_threshold_is_a_share(value: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="MTW_MAX_MISSING_RATE"):
        Settings.load({"MTW_MAX_MISSING_RATE": value}, dotenv=tmp_path / "none")
