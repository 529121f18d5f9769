"""Lists that others maintain: what crawlers and mail clients call themselves in their user agents.

Belongs here: reading the lists out of their packages, compiling and matching them. Does not: devices (user_agents), and
what a name means for an event: the rule known_bot, its exceptions and the mail proxies (dbt_project).

The patterns run in the engine of ua-parser-rs, whose time is linear in the text whatever the pattern: thousands of them
take microseconds, and no text makes them hang. The few that look around themselves, which it cannot do, are tried only
where they match without that, in a backtracking engine with a time limit.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import regex
import ua_parser_rs
import yaml

PACKAGES = ("device-detector", "crawler-user-agents", "crawlerdetect")
"""The distributions that hold the lists, in the order in which they are asked for a crawler's name."""

MAX_NAME_CHARACTERS = 100
"""Of a name that is part of the text: it is whatever the client sent."""

LOOK_AROUND_SECONDS = 0.2
"""Of one pattern on one text. What takes longer counts as no match."""

_NOT_TAKEN = {
    r"AP3A\.240617\.008": "the build number of Android 15 on millions of telephones",
    "Sogou": "a browser for telephones bears the name too; the list of device-detector tells its crawlers apart",
    "Blackboard": "schools read mail in the application of that name",
    "Butterfly": "also a telephone; the list of device-detector tells them apart",
    "Microsoft Office": "opens what a person clicks in Outlook, Word and the others; Outlook does not always say more",
}
"""Patterns that catch people, by measurement (docs/user-agents.md), and why."""

_NO_MAIL_CLIENTS = {
    *("DAVdroid", "SeaMonkey", "Live5ch", "JaneView", "BathyScaphe", "Raindrop.io", "Franz", "Notion", "Basecamp"),
    *("Evernote", "Rambox Pro"),
}
"""Organisers, readers and suites that share their list with the mail clients."""

_LOOK_AROUND = re.compile(r"\(\?<?[!=](?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)")
_BOUNDED = r"(?:^|[^A-Z0-9_-]|[^A-Z0-9-]_|sprd-|MZ-)(?:{})"
"""How device-detector wraps its patterns: they begin where a word does."""


@dataclass(frozen=True)
class Pattern:
    """One entry. name: what a match is called, `$1` for the pattern's first group; version likewise, "" for none."""

    text: str
    name: str
    version: str = ""
    ignores_case: bool = True


class UserAgentList:
    """Patterns compiled together. Of several that match, the first one names."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        quick, self._slow = [], []
        for pattern in patterns:
            entry = (pattern.text, "i" if pattern.ignores_case else None, pattern.name, None, pattern.version or None)
            text = _LOOK_AROUND.sub("", pattern.text)
            if text == pattern.text:
                quick.append(entry)
            else:
                may_match = ua_parser_rs.DeviceExtractor([(text, *entry[1:])])
                flags = regex.IGNORECASE if pattern.ignores_case else 0
                self._slow.append((may_match, regex.compile(pattern.text, flags), pattern.name))
        self._quick = ua_parser_rs.DeviceExtractor(quick)

    def find(self, text: str) -> tuple[str, str | None] | None:
        """Name and version of what the text is an example of; None where it is none."""
        found = self._quick.extract(text)
        if found is not None:
            return found.family[:MAX_NAME_CHARACTERS], found.model or None
        for may_match, pattern, name in self._slow:
            if may_match.extract(text) is not None and _matches(pattern, text):
                return name, None
        return None


def mail_client_list() -> UserAgentList:
    """The mail clients of device-detector."""
    return UserAgentList(
        Pattern(_BOUNDED.format(entry["regex"]), entry["name"], "$1" if entry.get("version") == r"\g<1>" else "")
        for entry in _device_detector("client/pim.yml")
        if entry["name"] not in _NO_MAIL_CLIENTS
    )


def crawler_lists() -> dict[str, Callable[[str], str | None]]:
    """By package: the function that gives a crawler's name, None where its list has none."""
    plain = UserAgentList(_crawler_user_agents())
    matomo = UserAgentList(
        Pattern(_BOUNDED.format(entry["regex"]), _plain_name(entry["name"])) for entry in _device_detector("bots.yml")
    )
    ordinary, others = _crawlerdetect()

    def without_ordinary(text: str) -> str | None:
        # Its patterns are written for what is left once the words of ordinary browsers are gone.
        rest = ordinary.sub("", text).strip()
        return _name(others, rest) if rest else None

    return dict(
        zip(PACKAGES, (lambda text: _name(matomo, text), lambda text: _name(plain, text), without_ordinary), strict=True)
    )


def _name(patterns: UserAgentList, text: str) -> str | None:
    found = patterns.find(text)
    return found[0] if found else None


def _matches(pattern: regex.Pattern, text: str) -> bool:
    try:
        return pattern.search(text, timeout=LOOK_AROUND_SECONDS) is not None
    except TimeoutError:
        return False


def _crawler_user_agents() -> Iterator[Pattern]:
    from crawleruseragents import CRAWLER_USER_AGENTS_DATA

    for entry in CRAWLER_USER_AGENTS_DATA:
        if entry["pattern"] not in _NOT_TAKEN:
            yield Pattern(f"({entry['pattern']})", "$1", ignores_case=False)


def _crawlerdetect() -> tuple[re.Pattern, UserAgentList]:
    from crawlerdetect.providers.crawlers import data as crawlers
    from crawlerdetect.providers.exclusions import data as exclusions

    patterns = UserAgentList(Pattern(f"({text})", "$1") for text in crawlers if text not in _NOT_TAKEN)
    return re.compile("|".join(exclusions), re.IGNORECASE), patterns


def _device_detector(name: str) -> list[dict]:
    # Found without importing the package, which would load the parser that nobody asks.
    spec = find_spec("device_detector")
    assert spec is not None and spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0], "regexes", "upstream", name)
    return yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _plain_name(name: str) -> str:
    r"""Names of device-detector refer to groups as \g<1>; ua-parser knows only $1."""
    return re.sub(r"\\g<1>", "$1", name)
