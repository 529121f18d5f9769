"""Pointer arithmetic: runs of consecutive log pointers of one server, their union, what is missing between them.

Pointers of one server rise by one per line, so a missing line is provable. Storing runs is the ledger's.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PointerRun:
    """Consecutive pointers first..last of one server, and the UTC ISO times of its two end lines (None: unknown)."""

    first: int
    last: int
    first_at: str | None = None
    last_at: str | None = None


@dataclass(frozen=True)
class Gap:
    """Pointers of a server that no file has delivered, between the times of the lines around them."""

    server: str
    first_missing_pointer: int
    last_missing_pointer: int
    before_at: str | None
    after_at: str | None

    @property
    def missing_count(self) -> int:
        return self.last_missing_pointer - self.first_missing_pointer + 1


def runs_of(pointers: np.ndarray, times: np.ndarray) -> list[PointerRun]:
    """The runs in an int64 array of pointers (any order, repeats allowed), with datetime64[us] times alongside."""
    if len(pointers) == 0:
        return []
    if np.any(pointers[1:] <= pointers[:-1]):
        order = np.argsort(pointers, kind="stable")
        pointers, times = pointers[order], times[order]
    breaks = np.flatnonzero(np.diff(pointers) > 1)
    starts = np.concatenate(([0], breaks + 1))
    ends = np.concatenate((breaks, [len(pointers) - 1]))
    return [
        PointerRun(int(pointers[a]), int(pointers[b]), _iso(times[a]), _iso(times[b]))
        for a, b in zip(starts, ends, strict=True)
    ]


class PointerIndex:
    """The pointers of one server seen so far: disjoint runs that neither overlap nor touch, by pointer."""

    def __init__(self, runs: list[PointerRun]) -> None:
        self._runs = runs
        self._firsts = [run.first for run in runs]
        self._lasts = [run.last for run in runs]

    def seen(self, pointers: np.ndarray) -> np.ndarray:
        """Which of these pointers (int64) have been seen: a mask."""
        if not self._runs or not len(pointers):
            return np.zeros(len(pointers), bool)
        before = np.searchsorted(np.asarray(self._firsts, np.int64), pointers, side="right") - 1
        return (before >= 0) & (pointers <= np.asarray(self._lasts, np.int64)[np.maximum(before, 0)])

    def add(self, runs: list[PointerRun]) -> None:
        """Take in runs (sorted, disjoint)."""
        merged: list[PointerRun] = []
        for run in sorted([*self._runs, *runs], key=lambda run: run.first):
            if merged and run.first <= merged[-1].last + 1:
                top = merged[-1]
                end = run if run.last > top.last else top
                merged[-1] = PointerRun(top.first, end.last, top.first_at, end.last_at)
            else:
                merged.append(run)
        self.__init__(merged)  # type: ignore[misc]

    def around(self, first: int, last: int) -> list[PointerRun]:
        """The merged runs that overlap first..last or touch it: what a change in that range can have altered."""
        start = bisect_left(self._lasts, first - 1)
        return self._runs[start : bisect_right(self._firsts, last + 1)]

    def gaps(self, server: str) -> list[Gap]:
        return [
            Gap(server, left.last + 1, right.first - 1, left.last_at, right.first_at)
            for left, right in zip(self._runs, self._runs[1:], strict=False)
        ]


def _iso(time: np.datetime64) -> str | None:
    return None if np.isnat(time) else f"{time}"
