"""Turns acts into the bytes of access-log lines, many at a time: nginx and Apache, with what each site appends.

Belongs here: the text of a request and its line, tracking or not, good or mangled. Does not: what happens (behaviour,
web), which file a line goes to (site_log).

Every line ends in a number of the request, as sites log it: two requests of one second stay two.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from log_ingest.sample import clock, user_agents
from log_ingest.sample.behaviour import IP_POOL_SIZE, KIND_LETTERS, METHODS, NO_AMOUNT, NO_PAGE
from log_ingest.sample.scenario import OPEN_URL_ID
from log_ingest.sample.texts import UPPER, addresses, hex_texts, hops, uuid_texts
from log_ingest.sample.web import FORCED, OPTED_OUT, PAGES, SESSION, page_of_recipient

_CHAINS = 64
_SECONDS_OF_DAY = pa.array(
    [f"{hour:02d}:{minute:02d}:{second:02d}" for hour in range(24) for minute in range(60) for second in range(60)]
)
_ORDINARY = (
    ('"GET / HTTP/1.1" 200 5120', "https://www.shop.example.com/"),
    ('"GET /favicon.ico HTTP/1.1" 200 1150', "https://www.shop.example.com/"),
    ('"GET /img/hero.jpg?v=3 HTTP/1.1" 304 0', "https://www.shop.example.com/collection"),
    ('"GET /css/site.css HTTP/1.1" 200 20480', "-"),
    ('"HEAD /healthz HTTP/1.0" 204 0', "-"),
    ('"POST /search HTTP/1.1" 200 812', "https://www.shop.example.com/shop?from=letter"),
    ('"GET /wp-login.php HTTP/1.1" 404 153', "-"),
)
"""Requests that are no tracking, and their referrer."""


@dataclass(frozen=True)
class Mangled:
    """A line that must be quarantined: the reason as a word of ours, and its text but for the newline."""

    kind: str
    text: str


def _mangled(kind: str, target: str, *, when: str = "21/Apr/2024:21:00:50 +0000", status: int = 302) -> Mangled:
    return Mangled(kind, f'203.0.113.9 - - [{when}] "GET {target} HTTP/1.1" {status} 0 "-" "Mozilla/4.0" "-"')


MANGLED = (
    Mangled("cut_line", '203.0.113.9 - - [21/Apr/2024:21:00:50 +0000] "GET /r/?id=h1f506d71,1aea'),
    _mangled("letter_in_id", "/r/?id=h1f506d71,1aeab4g6,1"),
    _mangled("missing_url_id", "/r/?id=h1f506d71,1aeab4b6"),
    _mangled("not_found", "/r/?id=h1f506d71,1aeab4b6,1af77020", status=404),
    _mangled("missing_tag", "/r/4711?page=home"),
    _mangled("impossible_day", "/r/?id=h1f506d71,1aeab4b6,1", when="31/Feb/2024:21:00:50 +0000"),
)


class AccessFormatter:
    """Formats acts as access-log lines; holds the pools of repeated texts."""

    def __init__(self, params: tuple[str, ...], rng: np.random.Generator) -> None:
        """params: what the events' params refer to. Draws the pools of addresses and forwarded-for chains from rng."""
        self._params = pa.array([f"&{text}" if text else "" for text in params])
        self._tags = pa.array([page.tag.replace("|", "%7C") for page in PAGES])
        self._kinds = pa.array(KIND_LETTERS)
        self._methods = pa.array(METHODS)
        self._agents = pa.array([agent.text for agent in user_agents.AGENTS])
        self._ips = pa.array(addresses(IP_POOL_SIZE, rng))
        self._chains = pa.array(["-", *(hops(number, rng) for number in range(1, _CHAINS))])

    def format(self, is_apache: bool, first_number: int, events: npt.NDArray[np.void]) -> pa.Array:
        """The lines of `events`, each with its newline, as Arrow strings; request numbers rise by one."""
        is_web = events["page"] != NO_PAGE
        request = pc.if_else(pa.array(is_web), self._page_target(events), self._message_target(events))
        # A pixel is answered, a link and a page's tag lead on.
        is_answered = is_web | (events["url"] == OPEN_URL_ID)
        status = pc.if_else(pa.array(is_answered), "200 43", "302 0")
        return pc.binary_join_element_wise(
            self._ips.take(pa.array(events["ip"])),
            pc.binary_join_element_wise(" - - [", _times(events["occurred_ms"]), '] "', ""),
            self._methods.take(pa.array(events["method"])),
            request,
            pc.binary_join_element_wise(' HTTP/1.1" ', status, ' "-" "', ""),
            self._agents.take(pa.array(events["agent"])),
            self._tail(is_apache, first_number, self._cookies(events), events["forwarded"]),
            "",
        )

    def format_ordinary(
        self, is_apache: bool, first_number: int, moments_ms: npt.NDArray[np.int64], rng: np.random.Generator
    ) -> pa.Array:
        """One request that is no tracking at each of the moments (milliseconds since 1970), likewise."""
        size = len(moments_ms)
        which = pa.array(rng.integers(0, len(_ORDINARY), size))
        nobody = pa.array(["-"] * size, pa.string())
        return pc.binary_join_element_wise(
            self._ips.take(pa.array(rng.integers(0, IP_POOL_SIZE, size))),
            pc.binary_join_element_wise(" - - [", _times(moments_ms), "] ", ""),
            pa.array([f'{request} "{referrer}" "' for request, referrer in _ORDINARY]).take(which),
            self._agents.take(pa.array(rng.integers(0, len(user_agents.AGENTS), size))),
            self._tail(is_apache, first_number, nobody, np.zeros(size, dtype=np.int64)),
            "",
        )

    def _message_target(self, events: npt.NDArray[np.void]) -> pa.Array:
        """`/r/?id=h787bc0,281a4d8,1&p1=FR`; some gateways change case and escapes, which leaves no doubt."""
        style = (events["visitor"] ^ events["message"].astype(np.uint64)) % np.uint64(40)
        is_upper = pa.array(style == 1)

        def number(name: str) -> pa.Array:
            return pc.if_else(is_upper, hex_texts(events[name], UPPER), hex_texts(events[name]))

        comma = pa.array([",", "%2C", "%252C"]).take(pa.array(np.where(style == 2, 1, np.where(style == 3, 2, 0))))
        params = self._params.take(pa.array(events["params"]))
        params = pc.if_else(pa.array(style == 4), pc.replace_substring(params, "&", "&amp;"), params)
        return pc.binary_join_element_wise(
            pc.binary_join_element_wise(" /r/?id=", self._kinds.take(pa.array(events["kind"])), ""),
            number("message"), comma, number("delivery"), comma, number("url"), params, "",
        )  # fmt: skip

    def _page_target(self, events: npt.NDArray[np.void]) -> pa.Array:
        """`/r/9862?tagid=order&amount=129.90&article=2`; the number is there to defeat caches."""
        size = len(events)
        numbers = pa.array((events["visitor"] % np.uint64(99_991)).astype(np.int64) + 7).cast(pa.string())
        is_forced = events["mode"] == FORCED
        job = pc.binary_join_element_wise("&jobid=", hex_texts(np.where(is_forced, events["delivery"], 0)), "")
        who = page_of_recipient(events)
        named = pc.binary_join_element_wise("&rcpid=%40id%3D", pa.array(who).cast(pa.string()), "")
        none = pa.array([""] * size, pa.string())
        return pc.binary_join_element_wise(
            pc.binary_join_element_wise(" /r/", numbers, "?tagid=", ""),
            self._tags.take(pa.array(np.maximum(events["page"], 0))),
            pc.if_else(pa.array(is_forced), job, none),
            pc.if_else(pa.array(who != 0), named, none),
            pc.if_else(pa.array(events["articles"] > 0), _purchase(events), none),
            "",
        )

    def _cookies(self, events: npt.NDArray[np.void]) -> pa.Array:
        """`uuid230=…; nlid=message|delivery; acoptout=1`, or `-`."""
        size = len(events)
        none = pa.array([""] * size, pa.string())
        visitor = pc.binary_join_element_wise("uuid230=", uuid_texts(events["visitor"]), "")
        has_session = np.isin(events["mode"], (SESSION, OPTED_OUT))
        session = pc.binary_join_element_wise(
            "; nlid=", hex_texts(events["message"]), "|", hex_texts(events["delivery"]), ""
        )
        cookies = pc.binary_join_element_wise(
            visitor,
            pc.if_else(pa.array(has_session), session, none),
            pc.if_else(pa.array(events["mode"] == OPTED_OUT), "; acoptout=1", ""),
            "",
        )
        return pc.if_else(pa.array(events["visitor"] != 0), cookies, "-")

    def _tail(
        self, is_apache: bool, first_number: int, cookies: pa.Array, forwarded: npt.NDArray[np.integer]
    ) -> pa.Array:
        """What the site appends. Apache logs the forwarded-for chain in front of the cookies."""
        size = len(cookies)
        numbers = hex_texts(np.arange(first_number, first_number + size))
        if is_apache:
            chains = self._chains.take(pa.array(forwarded))
            return pc.binary_join_element_wise('" "', chains, '" "', cookies, '" ', numbers, "\n", "")
        return pc.binary_join_element_wise('" "', cookies, '" ', numbers, "\n", "")


def _times(moments_ms: npt.NDArray[np.int64]) -> pa.Array:
    """`01/May/2024:10:00:00 +0000`. There are few days and few seconds of a day: both are looked up."""
    days, in_day = np.divmod(moments_ms // clock.SECOND_MS, clock.DAY_MS // clock.SECOND_MS)
    unique_days, which = np.unique(days, return_inverse=True)
    texts = pc.strftime(pa.array(unique_days.astype("datetime64[D]")), format="%d/%b/%Y:", locale="C")
    return pc.binary_join_element_wise(
        texts.take(pa.array(which)), _SECONDS_OF_DAY.take(pa.array(in_day)), " +0000", ""
    )


def _purchase(events: npt.NDArray[np.void]) -> pa.Array:
    """`&amount=129.90&article=2`; one page in three writes a decimal comma, escaped."""
    cents = np.maximum(events["amount"], 0)
    tens = pa.array(cents % 100 // 10).cast(pa.string())
    ones = pa.array(cents % 10).cast(pa.string())
    mark = pa.array([".", "%2C"]).take(pa.array((cents % 3 == 0).astype(np.int8)))
    amount = pc.binary_join_element_wise(pa.array(cents // 100).cast(pa.string()), mark, tens, ones, "")
    amount = pc.if_else(pa.array(events["amount"] == NO_AMOUNT), "n%2Fa", amount)
    articles = pa.array(events["articles"]).cast(pa.string())
    return pc.binary_join_element_wise("&amount=", amount, "&article=", articles, "")
