"""The user agents of the sample, and what machine rule a user agent alone proves.

Belongs here: strings, the mail-client profiles that use them, and their weights. Does not: which recipient has
which profile (population) or what a recipient does (behaviour).
"""

from dataclasses import dataclass

RULE_NAMES = (
    *("", "known_bot", "head_request", "gmail_prefetch", "apple_mpp"),
    *("honeypot", "burst", "all_links", "too_fast", "provider_verdict"),
)
HUMAN, KNOWN_BOT, HEAD_REQUEST, GMAIL_PREFETCH, APPLE_MPP = range(5)
HONEYPOT, BURST, ALL_LINKS, TOO_FAST, PROVIDER_VERDICT = range(5, 10)
"""Machine rules in priority order, the position is the code: an event that several rules fit counts for the first."""

KNOWN_BOT_SUBSTRINGS = (
    "Barracuda Sentinel",
    "proofpoint-urldefense",
    "bingbot",
    "Googlebot",
    "Slackbot-LinkExpanding",
)
"""A user agent of the sample is a known bot exactly when it holds one of these (case-sensitive)."""


@dataclass(frozen=True)
class Agent:
    """One user agent. is_proxy: a mail proxy or gateway asked, so the recipient's cookie never arrives."""

    text: str
    rule: int = HUMAN
    is_proxy: bool = False


_WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
_SAFARI = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
_WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64)"
_MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"
_IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X)"
_IPAD = "Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X)"

_BY_NAME = {
    "chrome_windows": Agent(f"{_WINDOWS} {_WEBKIT} Chrome/124.0.0.0 Safari/537.36"),
    "chrome_windows_old": Agent(f"{_WINDOWS} {_WEBKIT} Chrome/109.0.0.0 Safari/537.36"),
    "edge_windows": Agent(f"{_WINDOWS} {_WEBKIT} Chrome/124.0.0.0 Safari/537.36 Edg/124.0.2478.51"),
    "firefox_windows": Agent("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:125.0) Gecko/20100101 Firefox/125.0"),
    "firefox_linux": Agent("Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0"),
    "chrome_linux": Agent(f"Mozilla/5.0 (X11; Linux x86_64) {_WEBKIT} Chrome/123.0.0.0 Safari/537.36"),
    "chrome_mac": Agent(f"{_MAC} {_WEBKIT} Chrome/124.0.0.0 Safari/537.36"),
    "safari_mac": Agent(f"{_MAC} {_SAFARI} Version/17.4.1 Safari/605.1.15"),
    "safari_iphone": Agent(f"{_IPHONE} {_SAFARI} Version/17.4.1 Mobile/15E148 Safari/604.1"),
    "safari_ipad": Agent(f"{_IPAD} {_SAFARI} Version/16.6 Mobile/15E148 Safari/604.1"),
    "mail_iphone": Agent(f"{_IPHONE} {_SAFARI} Mobile/15E148"),
    "mail_ipad": Agent(f"{_IPAD} {_SAFARI} Mobile/15E148"),
    "chrome_android": Agent(
        f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {_WEBKIT} Chrome/124.0.6367.82 Mobile Safari/537.36"
    ),
    "chrome_android_reduced": Agent(
        f"Mozilla/5.0 (Linux; Android 10; K) {_WEBKIT} Chrome/124.0.0.0 Mobile Safari/537.36"
    ),
    "samsung_android": Agent(
        f"Mozilla/5.0 (Linux; Android 13; SAMSUNG SM-A546B) {_WEBKIT} SamsungBrowser/24.0 "
        "Chrome/117.0.0.0 Mobile Safari/537.36"
    ),
    "webview_android": Agent(
        f"Mozilla/5.0 (Linux; Android 12; SM-G991B Build/SP1A.210812.016; wv) {_WEBKIT} Version/4.0 "
        "Chrome/123.0.6312.118 Mobile Safari/537.36"
    ),
    "chrome_android_tablet": Agent(
        f"Mozilla/5.0 (Linux; Android 13; SM-X700) {_WEBKIT} Chrome/123.0.0.0 Safari/537.36"
    ),
    "outlook_windows": Agent(
        "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; WOW64; Trident/7.0; .NET4.0C; .NET4.0E; "
        "Microsoft Outlook 16.0.17425; ms-office; MSOffice 16)"
    ),
    "thunderbird": Agent("Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Thunderbird/115.10.1"),
    "google_proxy": Agent(
        "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
        is_proxy=True,
    ),
    "yahoo_proxy": Agent("YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html", is_proxy=True),
    "apple_mpp": Agent("Mozilla/5.0", APPLE_MPP, is_proxy=True),
    "gmail_prefetch": Agent(
        f"{_WINDOWS} {_WEBKIT} Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0",
        GMAIL_PREFETCH,
        is_proxy=True,
    ),
    "bot_barracuda": Agent("Barracuda Sentinel (EE)", KNOWN_BOT, is_proxy=True),
    "bot_proofpoint": Agent("Mozilla/5.0 (compatible; proofpoint-urldefense/1.0)", KNOWN_BOT, is_proxy=True),
    "bot_bing": Agent(
        "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)", KNOWN_BOT, is_proxy=True
    ),
    "bot_google": Agent(
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", KNOWN_BOT, is_proxy=True
    ),
    "bot_slack": Agent("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", KNOWN_BOT, is_proxy=True),
}

AGENTS = tuple(_BY_NAME.values())
"""Every user agent; events refer to one by its index here."""

_INDEX = {name: position for position, name in enumerate(_BY_NAME)}
AGENT_APPLE_MPP = _INDEX["apple_mpp"]
AGENT_GMAIL_PREFETCH = _INDEX["gmail_prefetch"]
BOT_AGENTS = tuple(position for position, agent in enumerate(AGENTS) if agent.rule == KNOWN_BOT)
DISGUISED_AGENTS = tuple(_INDEX[name] for name in ("chrome_windows_old", "chrome_linux", "edge_windows"))
"""Ordinary browsers that a mail gateway pretends to be: only what it does gives it away."""


@dataclass(frozen=True)
class Profile:
    """How one kind of recipient reads mail: the agent that loads images, and the browsers that follow links."""

    name: str
    weight: float
    open_agent: int
    click_agents: tuple[int, ...]


def _profile(name: str, weight: float, open_agent: str, *click_agents: str) -> Profile:
    return Profile(name, weight, _INDEX[open_agent], tuple(_INDEX[agent] for agent in click_agents))


PROFILES = (
    _profile("apple_mpp", 0.20, "apple_mpp", "safari_iphone", "safari_iphone", "safari_mac", "safari_ipad"),
    _profile("gmail", 0.25, "google_proxy", "chrome_android", "chrome_windows", "chrome_android_reduced"),
    _profile("yahoo", 0.06, "yahoo_proxy", "firefox_windows", "samsung_android"),
    _profile("outlook", 0.12, "outlook_windows", "edge_windows", "chrome_windows"),
    _profile("thunderbird", 0.02, "thunderbird", "firefox_linux", "chrome_linux"),
    _profile("iphone", 0.09, "mail_iphone", "safari_iphone"),
    _profile("ipad", 0.02, "mail_ipad", "safari_ipad"),
    _profile("android", 0.07, "webview_android", "chrome_android", "samsung_android"),
    _profile("android_tablet", 0.02, "chrome_android_tablet", "chrome_android_tablet"),
    _profile("webmail_chrome", 0.08, "chrome_windows", "chrome_windows"),
    _profile("webmail_firefox", 0.04, "firefox_windows", "firefox_windows"),
    _profile("webmail_mac", 0.03, "chrome_mac", "chrome_mac", "safari_mac"),
)
PROFILE_APPLE_MPP = 0
PROFILE_GMAIL = 1
