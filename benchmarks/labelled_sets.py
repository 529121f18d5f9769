"""User agents that others labelled: read out of their packages, which are fetched for the purpose.

Belongs here: which packages, in which versions, and what their labels mean in our words. Does not: measuring
(verdicts).

The packages go into an environment of their own; nothing of them is imported here. device-detector's and
crawlerdetect's own test files are among them, so a parser or list is measured on sets of others than its makers too.
"""

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

WHEELS = (
    *("crawler-user-agents==1.67.0", "device-detector==6.5.1", "fake-useragent==2.2.0", "user-agents==2.2.0"),
    *("woothee==1.10.1", "httpagentparser==1.9.9", "ua-parser==1.0.2"),
)
SOURCE_PACKAGE = "crawlerdetect==0.4.2"
"""Its wheel has no test files; its source package has."""
NPM_PACKAGE = "user-agents@2.1.198"
"""Browsers as a web analytics service saw them, with the class of their device."""

CRAWLER, BROWSER, MAIL_CLIENT = "crawler", "browser", "mail client"

PEOPLE = "mail proxy or client"
"""Members of the crawler sets behind which a person reads mail: a set of their own here, not to be flagged."""
_PEOPLE_WORDS = (
    *("googleimageproxy", "yahoomailproxy", "seznamemailproxy", "ramblermail", "secureurl.fwdcdn.com"),
    *("outlook", "thunderbird", "airmail", "polymail", "canary%20mail", "mail/"),
)


@dataclass(frozen=True)
class Labelled:
    """One user agent of a set. device_class, system, browser: our words, None where the set does not say."""

    text: str
    device_class: str | None = None
    system: str | None = None
    browser: str | None = None


@dataclass(frozen=True)
class LabelledSet:
    """kind: what all of its members are. is_real: seen in today's traffic, not collected over decades."""

    name: str
    kind: str
    members: tuple[Labelled, ...]
    is_real: bool = False


class Packages:
    """The packages in a folder, installed when they are not there yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        self.missing: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)
        if not self.python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
            for wheel in WHEELS:
                self._try([str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel])
        if not list(folder.glob("crawlerdetect-*.tar.gz")):
            pip = [str(self.python), "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
            self._try([*pip, "--no-binary", ":all:", "--dest", str(folder), SOURCE_PACKAGE])
        if not list(folder.glob("user-agents-*.tgz")):
            self._try(["npm", "pack", "--silent", "--pack-destination", str(folder), NPM_PACKAGE])

    def _try(self, command: list[str]) -> None:
        try:
            done = subprocess.run(command, capture_output=True)
        except FileNotFoundError:
            self.missing.append(f"{command[-1]} (no {command[0]} here)")
            return
        if done.returncode:
            self.missing.append(command[-1])

    def site(self, *parts: str) -> Path:
        (site,) = (self.folder / "venv" / "lib").glob("python3*/site-packages")
        return site.joinpath(*parts)

    def packed(self, archive: str, member: str) -> str | None:
        """The text of a file in an archive; None where the archive could not be had."""
        for path in self.folder.glob(archive):
            with tarfile.open(path) as tar:
                for name in tar.getnames():
                    if name.endswith(member):
                        stream = tar.extractfile(name)
                        assert stream is not None
                        return stream.read().decode("utf-8")
        return None


def labelled_sets(packages: Packages) -> Iterator[LabelledSet]:
    """Every set that could be had. Mail proxies and mail clients among crawlers come as a set of their own, last."""
    people: dict[str, Labelled] = {}
    for read in (_crawler_user_agents, _crawlerdetect, _device_detector, _fake_useragent, _npm_user_agents):
        for found in read(packages):
            if found.kind == CRAWLER:
                ours = {member.text: member for member in found.members if _is_persons(member.text)}
                people |= ours
                found = replace(found, members=tuple(m for m in found.members if m.text not in ours))
            yield found
    yield LabelledSet("mail proxies and clients among the crawlers", PEOPLE, tuple(people.values()))


def _is_persons(text: str) -> bool:
    lower = text.lower()
    return "crawler" not in lower and any(
        lower.startswith(word) if word == "mail/" else word in lower for word in _PEOPLE_WORDS
    )


def _crawler_user_agents(packages: Packages) -> Iterator[LabelledSet]:
    path = packages.site("crawleruseragents", "crawler-user-agents.json")
    if path.exists():
        entries = json.loads(path.read_text(encoding="utf-8"))
        yield _texts("crawler-user-agents", CRAWLER, (text for entry in entries for text in entry["instances"]))


def _crawlerdetect(packages: Packages) -> Iterator[LabelledSet]:
    for file, kind in (("crawlers.txt", CRAWLER), ("devices.txt", BROWSER)):
        text = packages.packed("crawlerdetect-*.tar.gz", f"user_agent/{file}")
        if text is not None:
            yield _texts(f"crawlerdetect {file}", kind, text.split("\n"))


def _texts(name: str, kind: str, texts: Iterator[str] | list[str]) -> LabelledSet:
    return LabelledSet(name, kind, tuple(Labelled(text) for text in sorted({text for text in texts if text.strip()})))


_CLASSES = {
    **dict.fromkeys(("smartphone", "phablet", "feature phone"), "phone"),
    **{name: name for name in ("desktop", "tablet")},
    **dict.fromkeys(("tv", "console", "car browser", "camera", "portable media player", "smart display"), "other"),
    **dict.fromkeys(("smart speaker", "wearable", "peripheral"), "other"),
}


def _device_detector(packages: Packages) -> Iterator[LabelledSet]:
    found: dict[str, dict[str, Labelled]] = {CRAWLER: {}, BROWSER: {}, MAIL_CLIENT: {}}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for path in sorted(packages.site("device_detector", "tests", "fixtures", "upstream").glob("*.yml")):
        if path.name.startswith("clienthints"):
            continue  # labelled by more than the user agent
        for entry in yaml.load(path.read_text(encoding="utf-8"), Loader=loader):
            text, client = entry["user_agent"], entry.get("client") or {}
            kind = (
                CRAWLER if path.name == "bots.yml" else {"browser": BROWSER, "pim": MAIL_CLIENT}.get(client.get("type"))
            )
            if kind is not None:
                device = (entry.get("device") or {}).get("type")
                system = (entry.get("os") or {}).get("name") if isinstance(entry.get("os"), dict) else None
                found[kind][text] = Labelled(text, _CLASSES.get(device), system, client.get("name"))
    for kind, members in found.items():
        if members:
            yield LabelledSet(f"device-detector {kind}s", kind, tuple(members.values()))


def _fake_useragent(packages: Packages) -> Iterator[LabelledSet]:
    path = packages.site("fake_useragent", "data", "browsers.jsonl")
    if path.exists():
        rows = {row["useragent"]: row for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
        classes = {"mobile": "phone", "desktop": "desktop", "tablet": "tablet"}
        members = (
            Labelled(text, classes.get(row["type"]), row["os"], row["browser"]) for text, row in sorted(rows.items())
        )
        yield LabelledSet("fake-useragent", BROWSER, tuple(members), is_real=True)


def _npm_user_agents(packages: Packages) -> Iterator[LabelledSet]:
    text = packages.packed("user-agents-*.tgz", "user-agents.json")
    if text is not None:
        rows = {row["userAgent"]: row for row in json.loads(text)}
        classes = {"mobile": "phone", "desktop": "desktop", "tablet": "tablet"}
        members = (Labelled(agent, classes.get(row["deviceCategory"])) for agent, row in sorted(rows.items()))
        yield LabelledSet("npm user-agents", BROWSER, tuple(members), is_real=True)


_SYSTEMS = {
    **dict.fromkeys(("mac os x", "mac", "macos", "os x", "mac os"), "macos"),
    **dict.fromkeys(("ios", "ipados", "iphone", "ipad", "ipod"), "ios"),
    **dict.fromkeys(("ubuntu", "gnu/linux", "linux", "fedora", "debian", "linux mint"), "linux"),
    **dict.fromkeys(("android", "fire os", "harmonyos", "yun os", "android tv"), "android"),
    **dict.fromkeys(("chrome os", "chromeos", "chromium os"), "chrome os"),
    **dict.fromkeys(("windows", "windows xp", "windows 7", "windows 10", "windows vista", "windows 8", "windows 8.1")
                    , "windows"),
}  # fmt: skip
_BROWSERS = (
    *("edge", "samsung", "yandex", "opera", "firefox", "silk", "duckduckgo", "facebook", "instagram", "uc browser"),
    *("webview", "chrome", "safari", "android", "miui", "internet explorer", "line"),
)


def normal_system(name: str | None) -> str | None:
    """A system by one word, whichever package named it."""
    return _SYSTEMS.get(name.lower(), name.lower()) if name else None


def normal_browser(name: str | None) -> str | None:
    """A browser by one word: its family, whatever the device or the engine in which it shows."""
    if not name:
        return None
    lower = {"ie": "internet explorer", "ie mobile": "internet explorer", "ucbrowser": "uc browser"}.get(
        name.lower(), name.lower()
    )
    return next((word for word in _BROWSERS if word in lower), lower)
