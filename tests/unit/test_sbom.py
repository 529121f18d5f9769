"""`make sbom`: a bill of materials that has every package of the lock, and is what it says it is."""

import json
import re
import shutil
import subprocess

import pytest

from tests.conftest import ROOT, unless_required

UV = ROOT / ".venv" / "bin" / "uv"
TOOL = ["tool", "run", "--quiet", "--from"]
_VERSION = re.search(r"^CYCLONEDX_VERSION := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
assert _VERSION is not None
PACKAGE = f"cyclonedx-bom=={_VERSION[1]}"

VALIDATES = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
sys.exit(JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read()) is not None)
"""


def is_valid(bill: dict) -> bool:
    """By the published schema, which the tool brings along."""
    command = [str(UV), *TOOL, PACKAGE, "python", "-c", VALIDATES]
    done = subprocess.run(command, input=json.dumps(bill), capture_output=True, text=True)
    assert not done.stderr, done.stderr
    return done.returncode == 0


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> dict:
    tool = [str(UV), *TOOL, PACKAGE, "cyclonedx-py", "--version"]
    if shutil.which("make") is None or not UV.exists() or subprocess.run(tool, capture_output=True).returncode != 0:
        unless_required(f"make is not there, or {PACKAGE} cannot be had")
    path = tmp_path_factory.mktemp("sbom") / "sbom.cdx.json"
    # An environment that is older than the lock is not made anew below the tests that run in it.
    command = ["make", "--no-print-directory", "--old-file=.venv/.installed", "sbom", f"SBOM={path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(path.read_text(encoding="utf-8"))


def locked() -> dict[tuple[str, str], set[str]]:
    """Hashes by name and version of every package of the lock."""
    found: dict[tuple[str, str], set[str]] = {}
    for entry in re.sub(r"\\\n", " ", (ROOT / "requirements.lock").read_text()).splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(\S+)", entry):
            found.setdefault((match[1].lower(), match[2]), set()).update(re.findall(r"sha256:([0-9a-f]{64})", entry))
    return found


def test_it_has_every_package_of_the_lock_with_its_hashes(bill: dict) -> None:
    packages = locked()
    assert len(packages) > 150 and all(packages.values())
    components = {(part["name"].lower(), part["version"]): part for part in bill["components"]}
    assert set(components) == set(packages)
    for name, hashes in packages.items():
        told = {
            entry["content"]
            for reference in components[name].get("externalReferences", [])
            for entry in reference.get("hashes", [])
        }
        assert told == hashes, name
        assert components[name]["purl"].startswith(f"pkg:pypi/{name[0].replace('_', '-')}@")


def test_it_is_valid(bill: dict) -> None:
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert is_valid(bill)
    assert not is_valid(bill | {"components": [{"name": "x"}]})


def test_it_names_the_project(bill: dict) -> None:
    assert bill["metadata"]["component"]["name"] == "message-tracking-warehouse"
    assert bill["metadata"]["component"]["type"] == "application"
