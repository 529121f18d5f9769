"""Asks an advisory service about each package of requirements.lock: `make audit`.

Exit codes: 0 all were audited and nothing is known; 1 something is known, or not all could be audited. Where the
service cannot be reached pip-audit itself says that it found nothing: here that counts as not audited.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).parents[1] / "requirements.lock"


def verdict(report: str, *, may_skip: bool) -> tuple[int, list[str]]:
    """Exit code and lines to print for a report of pip-audit, which is empty where it gave none."""
    try:
        packages = json.loads(report)["dependencies"]
    except (ValueError, KeyError):
        packages = []
    found = [
        f"VULNERABLE {package['name']} {package['version']}: {one['id']},"
        f" fixed in {', '.join(one['fix_versions']) or 'no version yet'}"
        for package in packages
        for one in package.get("vulns", [])
    ]
    skipped = sum("skip_reason" in package for package in packages)
    if skipped or not packages:
        found.append(
            f"NOT AUDITED: the advisory service knew {len(packages) - skipped} of {len(packages)} packages; "
            "run make audit where it can be reached"
        )
        return (1 if len(found) > 1 or not may_skip else 0), found
    return (1 if found else 0), [*found, f"{len(packages)} packages audited, {len(found)} advisories"]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pip-audit", required=True, metavar="VERSION")
    parser.add_argument("--skip-without-service", action="store_true", help="say so and go on")
    arguments = parser.parse_args()
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("uv")), "tool", "run", "--quiet"),
            *("--from", f"pip-audit=={arguments.pip_audit}", "pip-audit", "--requirement", str(LOCK)),
            *("--disable-pip", "--require-hashes", "--format", "json", "--progress-spinner", "off"),
        ],
        capture_output=True,
        text=True,
    )
    code, lines = verdict(done.stdout, may_skip=arguments.skip_without_service)
    if not done.stdout:
        print(done.stderr.strip()[-500:], file=sys.stderr)
    print("\n".join(lines), file=sys.stderr if code else sys.stdout)
    return code


if __name__ == "__main__":
    sys.exit(main())
