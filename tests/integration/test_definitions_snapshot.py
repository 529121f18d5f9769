"""All definitions of the shipped project are as committed: what changes shows as a readable diff."""

import difflib
import os
from collections.abc import Iterator

import pytest

from tests.definitions_snapshot import SNAPSHOT, snapshot


@pytest.fixture
def restored_environment() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_definitions_are_as_committed(restored_environment):
    committed, now = SNAPSHOT.read_text(encoding="utf-8").splitlines(), snapshot().splitlines()
    changes = [
        line
        for line in difflib.unified_diff(committed, now, "committed", "now", lineterm="", n=1)
        if not line.startswith("@@")
    ]
    assert not changes, "\n".join(["", *changes, "", "meant so? .venv/bin/python -m tests.definitions_snapshot"])
