"""What DuckDB may take next to what a process holds."""

import pytest

from orchestration import memory
from orchestration.memory import bytes_of, left_of


@pytest.mark.parametrize(
    ("limit", "count"),
    [("3GB", 3_000_000_000), ("800 MiB", 838_860_800), ("1.5gb", 1_500_000_000), ("2TiB", 2_199_023_255_552)],
)
def test_limits_are_read_as_duckdb_reads_them(limit: str, count: int) -> None:
    assert bytes_of(limit) == count


def test_what_the_process_holds_is_taken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_held", lambda: 1_000_000_000)
    assert left_of("3GB") == "2000000KB"
    assert left_of("1.2GB") == "600000KB"


def test_a_process_holds_something() -> None:
    assert 10_000_000 < memory._held() < 100_000_000_000


def test_what_is_no_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="no limit"):
        bytes_of("much")
