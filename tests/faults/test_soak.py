"""A short soak, so that the long one is known to work: python -m benchmarks.soak --runs 100."""

import pytest

from benchmarks.soak import main


def test_a_short_soak(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--runs", "3", "--seed", "4", "--models", "small", "--lines", "40", "--readers", "1", "--disk", "400m"]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines[1:4]]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert "1 2 3 4 5 6 7 8 9" in lines[3], "all invariants after the last run"
    assert "erasure" in lines[2] and "wrong: nothing" in lines[4]
