"""Each alert has its page, and what the pages say to type exists."""

import re
import shlex

import click
import pytest

from orchestration.alerts.alert import KINDS
from orchestration.alerts.watch import _BY_CHECK
from orchestration.cli import main
from orchestration.settings import Settings
from tests.conftest import ROOT
from tests.unit.test_docs import broken

RUNBOOK = ROOT / "docs" / "runbook"
PAGES = [*sorted(RUNBOOK.glob("*.md")), ROOT / "docs" / "operations.md"]
OTHER_PROGRAMS = {"kill", "journalctl"}


def test_each_alert_has_a_page_and_each_page_an_alert():
    assert {path.stem for path in RUNBOOK.glob("*.md")} == KINDS.keys() | {"README"}
    assert set(_BY_CHECK.values()) <= KINDS.keys()
    index = (RUNBOOK / "README.md").read_text()
    assert [kind for kind in KINDS if f"[{kind}]({kind}.md)" not in index] == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_says_what_someone_woken_up_needs(kind):
    text = (RUNBOOK / f"{kind}.md").read_text()
    assert text.splitlines()[0].removeprefix("# ") == KINDS[kind][0]
    for part in ("**Which numbers.**", "**Look", "**Do", "**Over**"):
        assert part in text, part


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    assert broken(page, page.read_text(encoding="utf-8")) == []


def commands(text: str) -> list[str]:
    """What follows a prompt, and code that begins with the name of a program of ours."""
    blocks = re.findall(r"^\$ (.*?)(?:\s{2,}#.*)?$", text, flags=re.MULTILINE)
    inline = re.findall(r"`((?:mtw|make|kill|journalctl) [^`]*)`", text)
    return [command for command in [*blocks, *inline] if "…" not in command]


def unknown(command: str) -> str:
    """What of a command does not exist; "" where all does."""
    program, *words = shlex.split(command)
    if program in OTHER_PROGRAMS:
        return ""
    if program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        return "" if set(words) <= set(targets) else command
    if program != "mtw":
        return program
    found: click.Command = main
    while isinstance(found, click.Group) and words:
        name = words.pop(0)
        if name not in found.commands:
            return name
        found = found.commands[name]
    options = {option for parameter in found.params for option in parameter.opts}
    return " ".join(word for word in words if word.startswith("-") and word.partition("=")[0] not in options)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_the_page_exist(page):
    text = page.read_text(encoding="utf-8")
    found = commands(text)
    assert {command: unknown(command) for command in found if unknown(command)} == {}
    settings = set(re.findall(r"\bMTW_[A-Z_]+[A-Z]\b", text))
    known = Settings.load({}).environment().keys() | {"MTW_PUBLISH_URL", "MTW_REFERENCE_URL"}
    assert settings - known == set()


def test_the_pages_are_read_for_commands_at_all():
    assert sum(len(commands(page.read_text())) for page in PAGES) > 30


@pytest.mark.parametrize(
    "command", ["mtw rum", "mtw run --deliverys 7", "mtw quarantine lst", "make demonstration", "rm x"]
)
def test_a_command_that_does_not_exist_is_found(command):
    assert unknown(command)
