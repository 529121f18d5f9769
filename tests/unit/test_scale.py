"""docs/scale.md says what the measured runs and the model say."""

import pytest

from benchmarks.engines import FIELDS
from benchmarks.scale import MEASURED, PAGE, PICTURE, line_through, measured_runs, with_tables


def test_the_page_holds_the_tables_of_what_was_measured() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page, measured_runs()) == page, "run: python -m benchmarks.scale"
    assert f"images/{PICTURE.name}" in page and PICTURE.is_file()
    assert MEASURED.read_text(encoding="utf-8").splitlines()[0] == ",".join(FIELDS)


def test_the_line_goes_through_points_on_a_line_and_else_between_them() -> None:
    line = line_through([(0, 10), (100, 210), (1000, 2010)])
    assert (line.fixed, line.each) == pytest.approx((10, 2))
    assert line.events_within(4010) == pytest.approx(2000)
    assert line.events_within(5) == 0
    # 1 and 100 in the same place: the relative errors are least near the smaller one.
    between = line_through([(0, 1), (0, 100), (1, 1)])
    assert 1 < between.fixed < 1.1
    with pytest.raises(ValueError, match="two sizes"):
        line_through([(5, 1), (5, 2)])


def test_a_page_without_a_mark_is_refused() -> None:
    with pytest.raises(ValueError, match="measured"):
        with_tables("no marks", measured_runs())
