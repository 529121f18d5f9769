"""Runs and gaps against a plain set of numbers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from log_ingest.pointers import PointerIndex, runs_of

NUMBERS = st.lists(st.integers(0, 40), max_size=30)


def runs(numbers: list[int]) -> list:
    return runs_of(np.array(numbers, np.int64), np.full(len(numbers), "NaT", "datetime64[us]"))


@given(NUMBERS, NUMBERS)
def test_index_is_the_set_of_numbers_seen(first: list[int], second: list[int]) -> None:
    index = PointerIndex([])
    index.add(runs(first))
    assert index.seen(np.array(second, np.int64)).tolist() == [number in first for number in second]
    index.add(runs(second))
    seen = set(first) | set(second)
    missing = {
        number for gap in index.gaps("5") for number in range(gap.first_missing_pointer, gap.last_missing_pointer + 1)
    }
    assert missing == (set(range(min(seen), max(seen) + 1)) - seen if seen else set())
    assert sum(gap.missing_count for gap in index.gaps("5")) == len(missing)


@given(NUMBERS, st.integers(0, 40), st.integers(0, 40))
def test_around_gives_the_runs_a_change_can_have_altered(numbers: list[int], a: int, b: int) -> None:
    first, last = min(a, b), max(a, b)
    index = PointerIndex([])
    index.add(runs(numbers))
    expected = [run for run in runs(numbers) if run.last >= first - 1 and run.first <= last + 1]
    assert index.around(first, last) == expected
