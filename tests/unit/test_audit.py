"""`make audit`: silence of the advisory service is no clean bill of health."""

import importlib.util
import json

import pytest

from tests.conftest import ROOT

specification = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
assert specification is not None and specification.loader is not None
audit = importlib.util.module_from_spec(specification)
specification.loader.exec_module(audit)

CLEAN = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "c", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("packages", "may_skip", "code", "says"),
    [
        ([CLEAN], False, 0, "1 packages audited, 0 advisories"),
        ([CLEAN, BAD], True, 1, "VULNERABLE b 2: PYSEC-1, fixed in 3"),
        ([CLEAN, UNKNOWN], False, 1, "NOT AUDITED: the advisory service knew 1 of 2 packages"),
        ([UNKNOWN], True, 0, "NOT AUDITED: the advisory service knew 0 of 1 packages"),
        ([BAD, UNKNOWN], True, 1, "VULNERABLE b 2"),
        (None, False, 1, "NOT AUDITED"),
        (None, True, 0, "NOT AUDITED"),
    ],
)
def test_the_verdict(packages: list[dict] | None, may_skip: bool, code: int, says: str) -> None:
    report = "" if packages is None else json.dumps({"dependencies": packages, "fixes": []})
    found, lines = audit.verdict(report, may_skip=may_skip)
    assert found == code and says in "\n".join(lines)
