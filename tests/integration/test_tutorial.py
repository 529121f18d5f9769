"""The tutorial's commands are run in their order, and print what it shows."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT
from tests.installation import Installation

TUTORIAL = ROOT / "docs" / "tutorial.md"
MARK = "-- end of block"


@dataclass(frozen=True)
class Step:
    """Commands, and the lines that are shown to come of them; … stands for anything."""

    commands: str
    shown: list[str]


def steps(text: str) -> list[Step]:
    """Each block of commands with the block of output behind it, but for those that say `not run`."""
    found: list[Step] = []
    for skipped, language, body in re.findall(
        r"(<!-- not run[^\n]*-->\n)?^```(\w+)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL
    ):
        if language == "sh" and not skipped:
            found.append(Step(body, []))
        elif language == "text":
            found[-1].shown.extend(body.splitlines())
    return found


def missing(step: Step, output: str) -> list[str]:
    """Lines that are shown and were not printed, each looked for behind the one before."""
    lacking, position = [], 0
    text = re.sub(r" {2,}", " ", output)
    for line in step.shown:
        pattern = ".*".join(re.escape(part) for part in line.split("…"))
        found = re.compile(pattern).search(text, position)
        if found is None:
            lacking.append(line)
        else:
            position = found.end()
    return lacking


def test_the_first_hour(installed: Installation, tmp_path: Path) -> None:
    """With the wheel, from an empty folder: so this is also the test that an installation runs the pipeline."""
    todo = steps(TUTORIAL.read_text(encoding="utf-8"))
    assert sum(bool(step.shown) for step in todo) >= 9
    script = "\n".join(f"{step.commands}\necho '{MARK}'" for step in todo)
    before = installed.files()
    done = installed.run("bash", "-euo", "pipefail", "-c", script, folder=tmp_path)
    outputs = done.stdout.split(f"{MARK}\n")
    (tmp_path / "output.txt").write_text(done.stdout + done.stderr)
    assert done.returncode == 0, f"block {len(outputs)} of {len(todo)}: {outputs[-1]}{done.stderr}"
    lacking = [(line, output) for step, output in zip(todo, outputs, strict=False) for line in missing(step, output)]
    assert lacking == []
    assert installed.files() == before, "nothing is written into the installation"


def test_what_is_not_printed_is_found() -> None:
    step = Step("", ["version …000002…", "a 1", "b 2"])
    assert missing(step, "published  version   000002, now\na 1\nb 2\n") == []
    assert missing(step, "published  version   000001, now\na 1\nb 2\n") == ["version …000002…"]
    assert missing(step, "version 000002\nb 2\na 1\n") == ["b 2"]
    assert missing(Step("", ["a … z"]), "a\nz\n") == ["a … z"], "a line is one line"
