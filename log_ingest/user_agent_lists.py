"""Lists that others maintain: what crawlers and mail clients call themselves in their user agents.

Belongs here: reading the lists out of their packages, compiling and matching them. Does not: device classes
(device_classes), and what a name means for an event: the rule known_bot, its exceptions, mail proxies (dbt_project).

The patterns run in the engine of ua-parser-rs, whose time is linear in the text whatever the pattern: thousands of them
take microseconds, and no text makes them hang. The few that look around themselves, which it cannot do, are tried only
where they match without that, in a backtracking engine with a time limit.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import regex
import ua_parser_rs
import yaml

MAX_NAME_CHARACTERS = 100
"""Of a name that is part of the text: it is whatever the client sent."""

LOOK_AROUND_SECONDS = 0.2
"""Of one pattern on one text. What takes longer counts as no match."""

_NOT_TAKEN = {
    r"AP3A\.240617\.008": "the build number of Android 15 on millions of telephones",
    "Sogou": "a browser for telephones bears the name too; device-detector tells its crawlers apart",
    "Blackboard": "schools read mail in the application of that name",
    "Butterfly": "also a telephone; device-detector tells them apart",
    "Sonic": "also ViewSonic, a maker of tablets",
    "Fever": "also a telephone",
    "OPPO A33": "a telephone",
    "libwww": "also the text browsers; libwww-perl has an entry of its own",
    "Yandex(?!Search)": "also the applications of Yandex; device-detector knows its crawlers one by one",
    "Microsoft Office": "opens what a person clicks in Outlook, Word and the others; Outlook does not always say more",
}
"""Patterns that catch people, by measurement (docs/user-agents.md), and why."""

_NO_MAIL_CLIENTS = {
    *("DAVdroid", "SeaMonkey", "Live5ch", "JaneView", "BathyScaphe", "Raindrop.io", "Franz", "Notion", "Basecamp"),
    *("Evernote", "Rambox Pro"),
}
"""Organisers, readers and suites that share their list with the mail clients."""

_LOOK_AROUND = re.compile(r"\?<?[!=]")
_MAY_LOOK_AROUND = re.compile(r"\(\?<?[!=]")


@dataclass(frozen=True)
class Pattern:
    """One entry. name: what a match is called, `$1` for the pattern's first group; version likewise, "" for none."""

    text: str
    name: str
    version: str = ""
    ignores_case: bool = True


class UserAgentList:
    """Patterns compiled together. Of several that match, the first one names; those that look around come last."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        quick, slow = [], []
        for pattern in patterns:
            text = without_look_around(pattern.text)
            if text == pattern.text:
                quick.append(_entry(pattern, text))
            else:
                slow.append(_Slow(pattern, text))
        self._quick = ua_parser_rs.DeviceExtractor(quick)
        self._may_match = ua_parser_rs.DeviceExtractor([_entry(each.pattern, each.may_match) for each in slow])
        self._slow = slow

    def find(self, text: str) -> tuple[str, str | None] | None:
        """Name and version of what the text is an example of; None where it is none."""
        found = self._quick.extract(text)
        if found is not None:
            return found.family[:MAX_NAME_CHARACTERS], found.model or None
        if self._may_match.extract(text) is not None:
            for each in self._slow:
                name = each.find(text)
                if name is not None:
                    return name[:MAX_NAME_CHARACTERS], None
        return None


class _Slow:
    """A pattern that looks around. may_match: the same without; compiled when first needed."""

    def __init__(self, pattern: Pattern, may_match: str) -> None:
        self.pattern, self.may_match = pattern, may_match

    def find(self, text: str) -> str | None:
        if self._quick.extract(text) is None:
            return None
        try:
            match = self._exact.search(text, timeout=LOOK_AROUND_SECONDS)
        except TimeoutError:
            return None
        if match is None:
            return None
        return match[1] if self.pattern.name == "$1" else self.pattern.name

    @cached_property
    def _quick(self) -> ua_parser_rs.DeviceExtractor:
        return ua_parser_rs.DeviceExtractor([_entry(self.pattern, self.may_match)])

    @cached_property
    def _exact(self) -> regex.Pattern:
        return regex.compile(self.pattern.text, regex.IGNORECASE if self.pattern.ignores_case else 0)


_Entry = tuple[str, Literal["i"] | None, str | None, str | None, str | None]


def _entry(pattern: Pattern, text: str) -> _Entry:
    """As the engine takes them: regex, flag, family, brand, model."""
    return text, "i" if pattern.ignores_case else None, pattern.name, None, pattern.version or None


def without_look_around(pattern: str) -> str:
    """The pattern without the groups that look ahead or behind: it matches wherever the pattern does, and more."""
    if not _MAY_LOOK_AROUND.search(pattern):
        return pattern
    kept, depth, left_out_at, in_class = [], 0, None, False
    position = 0
    while position < len(pattern):
        token = pattern[position : position + 2] if pattern[position] == "\\" else pattern[position]
        position += len(token)
        if in_class:
            in_class = token != "]"
        elif token == "[":
            in_class = True
        elif token == "(":
            depth += 1
            if left_out_at is None and _LOOK_AROUND.match(pattern, position):
                left_out_at = depth
        elif token == ")":
            depth -= 1
            if left_out_at is not None and depth < left_out_at:
                left_out_at = None
                continue
        if left_out_at is None:
            kept.append(token)
    return "".join(kept)


def mail_client_list() -> UserAgentList:
    """The mail clients of device-detector."""
    return UserAgentList(
        Pattern(bounded(entry["regex"]), entry["name"], "$1" if entry.get("version") == r"\g<1>" else "")
        for entry in device_detector("client/pim.yml")
        if entry["name"] not in _NO_MAIL_CLIENTS
    )


def crawler_lists() -> dict[str, Callable[[str], str | None]]:
    """By package: the function that gives a crawler's name, None where its list has none."""
    matomo = UserAgentList(
        Pattern(bounded(entry["regex"]), _plain_name(entry["name"])) for entry in device_detector("bots.yml")
    )
    plain = UserAgentList(_crawler_user_agents())
    ordinary, others = _crawlerdetect()

    def without_ordinary(text: str) -> str | None:
        # Its patterns are written for what is left once the words of ordinary browsers are gone.
        rest = ordinary.sub("", text).strip()
        return _name(others, rest) if rest else None

    return {
        "device-detector": lambda text: _name(matomo, text),
        "crawler-user-agents": lambda text: _name(plain, text),
        "crawlerdetect": without_ordinary,
    }


def _name(patterns: UserAgentList, text: str) -> str | None:
    found = patterns.find(text)
    return found[0] if found else None


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


def bounded(pattern: str) -> str:
    """As device-detector wraps its patterns: they begin where a word does."""
    return f"(?:^|[^A-Z0-9_-]|[^A-Z0-9-]_|sprd-|MZ-)(?:{pattern})"


def device_detector(name: str) -> Any:
    """A file of patterns of device-detector: a list of entries or, of devices, a mapping by brand."""
    return _loaded(_text_of(name))


class DeviceBrands:
    """The devices of device-detector by brand. Most of the file are models; those of a brand are read when asked for.

    brands: of each, what stands before its models.
    """

    def __init__(self) -> None:
        # A brand stands at the beginning of a line, its models last.
        self._texts = re.split(r"^(?=[^\s#])", _text_of("device/mobiles.yml"), flags=re.MULTILINE)[1:]
        heads = _loaded("\n".join(text.partition("\n  models:")[0] for text in self._texts))
        self.brands: list[dict[str, Any]] = list(heads.values())
        self._models: dict[int, list[dict[str, Any]]] = {}

    def models(self, place: int) -> list[dict[str, Any]]:
        """Of the brand at this place."""
        if place not in self._models:
            (entry,) = _loaded(self._texts[place]).values()
            self._models[place] = entry.get("models", [])
        return self._models[place]


def _text_of(name: str) -> str:
    # Found without importing the package, which would load the parser that nobody asks.
    spec = find_spec("device_detector")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], "regexes", "upstream", name).read_text(encoding="utf-8")


def _loaded(text: str) -> Any:
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _plain_name(name: str) -> str:
    r"""Names of device-detector refer to groups as \g<1>; ua-parser knows only $1."""
    return re.sub(r"\\g<1>", "$1", name)
