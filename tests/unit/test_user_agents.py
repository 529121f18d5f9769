"""What is read of a user agent: labelled examples of others, bad input in bounded time, patterns that look around."""

import time
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from crawleruseragents import CRAWLER_USER_AGENTS_DATA

from log_ingest import user_agents
from log_ingest.user_agent_lists import (
    MAX_NAME_CHARACTERS,
    DeviceBrands,
    Pattern,
    UserAgentList,
    device_detector,
    without_look_around,
)
from log_ingest.user_agents import MAX_PARSED_CHARACTERS, describe

NOW = datetime(2026, 11, 25)
CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0"


def said(*texts: str) -> list[dict[str, Any]]:
    return describe(list(texts), NOW).to_pylist()


def fixtures(*names: str) -> list[dict[str, Any]]:
    """device-detector's own labelled examples."""
    spec = find_spec("device_detector")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0], "tests", "fixtures", "upstream")
    return [entry for name in names for entry in yaml.load((folder / name).read_text(), Loader=yaml.CSafeLoader)]


WINDOWS = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} Safari/537.36"
PHONE = f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {CHROME} Mobile Safari/537.36"
TABLET = f"Mozilla/5.0 (Linux; Android 13; SM-X700) {CHROME} Safari/537.36"
MOBILE_TABLET = f"Mozilla/5.0 (Linux; Android 10; TB-X505L) {CHROME} Mobile Safari/537.36"
TELEVISION = f"Mozilla/5.0 (Linux; Android 5.1.1; H96plus) {CHROME} Safari/537.36"
IPAD = (
    "Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.6 Mobile/15E148"
    " Safari/604.1"
)
THUNDERBIRD = "Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Thunderbird/115.10.1"
OUTLOOK = "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; Tablet PC 2.0; Microsoft Outlook 16.0.17425; ms-office)"
OUTLOOK_IOS = "Outlook-iOS/709.2189947.prod.iphone (3.24.0)"


@pytest.mark.parametrize(
    ("text", "device", "system", "browser", "mail_client"),
    [
        (WINDOWS, "desktop", "Windows 10", "Chrome 124.0", None),
        (PHONE, "phone", "Android 14", "Chrome Mobile 124.0", None),
        (TABLET, "tablet", "Android 13", "Chrome 124.0", None),
        # A tablet that calls itself mobile, a television that does not say so: known by their models.
        (MOBILE_TABLET, "tablet", "Android 10", "Chrome Mobile 124.0", None),
        (TELEVISION, "other", "Android 5.1", "Chrome 124.0", None),
        (IPAD, "tablet", "iOS 16.6", "Mobile Safari 16.6", None),
        (THUNDERBIRD, "desktop", "Linux", "Thunderbird 115.10", "Thunderbird 115.10.1"),
        (OUTLOOK, "desktop", "Windows 10", "Outlook 2016", "Microsoft Outlook 16.0.17425"),
        (OUTLOOK_IOS, "phone", "iOS", "Outlook-iOS 3.24", "Microsoft Outlook 3.24.0"),
        ("", "unknown", None, None, None),
        ("Mozilla/5.0", "unknown", None, None, None),
    ],
)
def test_what_a_user_agent_says(
    text: str, device: str, system: str | None, browser: str | None, mail_client: str | None
) -> None:
    (row,) = said(text)

    def together(name: str) -> str | None:
        return " ".join(filter(None, (row[f"{name}_name"], row[f"{name}_version"]))) or None

    assert (row["device_class"], together("os"), together("browser"), together("mail_client")) == (
        device, system, browser, mail_client,
    )  # fmt: skip
    assert row["user_agent"] == text


def test_crawlers_are_named_and_browsers_are_not() -> None:
    """By examples that the lists' makers publish with them: more than 3,000 crawlers, 370 browsers of desktops."""
    crawlers = {text for entry in CRAWLER_USER_AGENTS_DATA for text in entry["instances"]}
    crawlers |= {entry["user_agent"] for entry in fixtures("bots.yml")}
    found = said(*sorted(crawlers))
    assert len(found) > 3_000
    assert sum(row["crawler_name"] is not None for row in found) / len(found) >= 0.99
    browsers = {
        entry["user_agent"] for entry in fixtures("desktop.yml") if (entry.get("client") or {}).get("type") == "browser"
    }
    flagged = [row["user_agent"] for row in said(*sorted(browsers)) if row["crawler_name"] is not None]
    assert len(browsers) > 300 and len(flagged) <= 6, flagged  # 5 curiosities of the nineties
    names = {row["crawler_list"]: row["crawler_name"] for row in said("Googlebot/2.1", "CFNetwork-Unknown/1.0", CHROME)}
    assert names == {"device-detector": "Googlebot", None: None}


def test_devices_agree_with_the_labels_of_others() -> None:
    """A sample of device-detector's examples: mostly models that few people hold, which is what is hard."""
    classes = {"smartphone": "phone", "phablet": "phone", "feature phone": "phone", "tablet": "tablet", "tv": "other"}
    labelled = {
        entry["user_agent"]: classes[entry["device"]["type"]]
        for entry in fixtures("smartphone.yml", "tablet-3.yml", "phablet.yml", "tv-2.yml")
        if (entry.get("client") or {}).get("type") == "browser"
    }
    rows = said(*labelled)
    right = sum(row["device_class"] == labelled[row["user_agent"]] for row in rows)
    assert len(rows) > 1_500 and right / len(rows) >= 0.97


PROBES = {
    "64 kB of one letter": "a" * 65_536,
    "64 kB of browser": f"Mozilla/5.0 (Linux; Android 14; {'Pixel ' * 11_000}) {CHROME} Mobile",
    "control characters": "\x00\x01\x1b[31m\r\n\t\x7f\u202e" * 100,
    "open brackets": "Mozilla/5.0 " + "(" * 60_000,
    "spaces": " " * 70_000,
    "half words": "a-" * 30_000 + "!",
    "nested repetition": "Mozilla/5.0 (" + "a_b-" * 15_000 + ")bot",
    "versions": "Opera Mini/1.1." + "1." * 30_000 + "x",
    "look-behinds": "power bot m bot Cubot Hubot " * 2_000 + "fetche",
    "crawler words cut short": "fetc crawl spide archi monito " * 2_000,
    "template": "$1 ${jndi:ldap://x} \\g<1> {0} %s" * 500,
    "emoji": "🤖" * 20_000,
}


@pytest.mark.parametrize("name", PROBES)
def test_bad_input_takes_bounded_time_and_stays_itself(name: str) -> None:
    said("Mozilla/5.0 (Linux; Android 14; Pixel 8) Mobile bot")  # patterns are loaded
    started = time.process_time()
    (row,) = said(PROBES[name])
    assert time.process_time() - started < 1.5
    assert row["user_agent"] == PROBES[name]
    assert len(row["crawler_name"] or "") <= MAX_NAME_CHARACTERS


def test_a_long_text_is_parsed_by_its_beginning() -> None:
    beginning = "Mozilla/5.0 (X11; Linux x86_64) ".ljust(MAX_PARSED_CHARACTERS, "x")
    inside, outside = said(beginning[:-12] + " Googlebot/1", beginning + " Googlebot/1")
    assert (inside["crawler_name"], outside["crawler_name"]) == ("Googlebot", None)
    assert inside["user_agent_key"] != outside["user_agent_key"]


@pytest.mark.parametrize(
    ("pattern", "simple"),
    [
        ("bot", "bot"),
        (r"(?<!cu|m[ _])bot(?! tab)", "bot"),
        (r"a(?=(?:b|c(d)))e", "ae"),
        (r"Build[);/ ](?!(?:[)] |\)))x", r"Build[);/ ]x"),
        (r"(?:a|(?<!b)c)+(d)", r"(?:a|c)+(d)"),
        (r"\(?!x[(?!]y", r"\(?!x[(?!]y"),
    ],
)
def test_patterns_without_what_looks_around(pattern: str, simple: str) -> None:
    assert without_look_around(pattern) == simple


def test_a_pattern_that_looks_around_is_tried_exactly() -> None:
    bots = UserAgentList([Pattern("phone", "phone"), Pattern(r"((?<!cu)bot\d)(?!tab)", "$1")])
    texts = ("a BOT1", "cubot1", "bot1tab", "nothing", "a Phone bot1", "cubot1 bot2")
    assert [bots.find(text) for text in texts] == [
        ("BOT1", None), None, None, None, ("phone", None), ("bot2", None),
    ]  # fmt: skip


def test_the_parser_names_its_packages_and_rules() -> None:
    version = user_agents.parser_version()
    for package in ("ua-parser 1", "device-detector 6", "crawler-user-agents 1", "crawlerdetect 0", "rules "):
        assert package in version


def test_brands_read_in_parts_are_those_of_the_whole_file() -> None:
    brands = DeviceBrands()
    whole = device_detector("device/mobiles.yml")
    assert len(brands.brands) == len(whole) > 2000
    for place, (head, entry) in enumerate(zip(brands.brands, whole.values(), strict=True)):
        models = brands.models(place)
        assert head | ({"models": models} if models else {}) == entry
