"""Joins that multiply rows, by the declared keys; marts that take whatever columns there are.

Belongs here: what is told of a model's joins and of its stars. Does not: how keys are found out (keys).

A join that is meant to multiply rows says so in the comment above it, with the words "fans out".
"""

import re
from collections.abc import Iterable, Iterator

import sqlglot
from sqlglot import exp

from orchestration.sql_lint.keys import FanOut

_MEANT = re.compile(r"--.*\bfans out\b", re.IGNORECASE)


def multiplied(sql: str, fan_outs: Iterable[FanOut]) -> Iterator[tuple[str, int, str]]:
    """(rule, line, what is wrong) of the joins that are not said to fan out."""
    lines = sql.splitlines()
    for found in fan_outs:
        if _is_meant(lines, found.line):
            continue
        by = ", ".join(found.by) or "no column"
        yield (
            "fan-out",
            found.line,
            f"join with {found.right} by {by}: no declared key, so it can multiply {found.counted};"
            ' declare a key (a unique test), join by one, or say "fans out" and why in a comment above',
        )


def stars(sql: str) -> Iterator[tuple[str, int, str]]:
    """(rule, line, what is wrong) where the columns of a mart are whatever something else has."""
    tree = sqlglot.parse_one(sql, dialect="duckdb")
    selects = tree.selects if isinstance(tree, exp.Query) else []
    if any(isinstance(each, exp.Star) or (isinstance(each, exp.Column) and each.name == "*") for each in selects):
        yield "star", 0, "a mart names its columns: select * takes in whatever is added below"


def _is_meant(lines: list[str], line: int) -> bool:
    """Whether the comment right above the line, or above the line before it, speaks of it."""
    above = line - 2
    while above >= 0 and lines[above].lstrip().startswith("--"):
        if _MEANT.search(lines[above]):
            return True
        above -= 1
    return False
