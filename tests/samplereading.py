"""A second, plain reading of a sample's landing folder: line by line, in plain Python, with dictionaries and sets.

Belongs here: what the files say, judged by the definitions. It shares nothing with the generator nor with the pipeline.
"""

import bisect
import csv
import gzip
import hashlib
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow.parquet as pq
import zstandard

# The published validity pattern, translated from POSIX character classes; Python's $ would accept a newline.
ALNUM, PRINT = "[0-9A-Za-z]", r"[\x20-\x7e]"
PUBLISHED = re.compile(
    rf"^{ALNUM}{{2}}x{ALNUM}*\t[0-9T:\.-]*\t[0-9a-fA-F]*\t[0-9a-fA-F]*\t[0-9a-fA-F]*\t{ALNUM}*\t"
    rf"[0-9A-Za-z-]*\t{PRINT}*\t{PRINT}*\t{PRINT}*\t"
    rf"([0-9a-fA-F\.:]*|[0-9a-fA-F\.:]*\t{PRINT}*|[0-9a-fA-F\.:]*,{PRINT}*)\Z"
)
STRICT_ID = re.compile(r"[0-9a-f]{0,16}\Z")
REQUEST = re.compile(
    r'(?P<ip>\S+) - - \[(?P<at>[^\]]+)\] "(?P<method>[A-Z]+) (?P<target>\S+) HTTP/1\.[01]" (?P<status>\d{3}) \d+'
    r' "[^"]*" "(?P<agent>[^"]*)"(?: "(?P<chain>[^"]*)")? "(?P<cookies>[^"]*)" [0-9a-f]+\Z'
)
LINK = re.compile(r"/r/\?id=([a-z])([0-9a-f]+),([0-9a-f]+),([0-9a-f]+)(?:&|\Z)", re.IGNORECASE)
BOTS = ("Barracuda Sentinel", "proofpoint-urldefense", "bingbot", "Googlebot", "Slackbot-LinkExpanding")
PREFETCH = "Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
MATCH_MS = 10_000
"""Within which two records are of one act."""
UNKNOWN_TYPE, OPT_OUT, WEB, TRANSACTION = 0, 3, 4, 5
UNSUBSCRIBED = 2**52 - 1
"""URL id of what only a provider tells of as an unsubscription."""

Row = dict[str, str]
Reference = dict[str, dict[tuple[str, ...], Row]]


@dataclass(frozen=True)
class Event:
    """One act or page hit, as the test reads it. known_type: where no link says it. recipient: where a page does."""

    time_ms: int
    message: int
    delivery: int
    url: int
    visitor: str
    agent: str
    params: str = ""
    method: str = ""
    source: str = "tracking_log"
    known_type: int = UNKNOWN_TYPE
    recipient: int = 0
    is_convicted: bool = False
    cents: int = 0
    articles: int = 0


@dataclass
class Reading:
    """Everything that is found in a landing folder. control: per file. told: webhook events, each once."""

    events: list[Event] = field(default_factory=list)
    control: dict[str, Counter[str]] = field(default_factory=dict)
    quarantined: list[tuple[str, int]] = field(default_factory=list)
    pointers: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    outcomes: Counter[str] = field(default_factory=Counter)
    both: Counter[tuple[int, str]] = field(default_factory=Counter)


def decompressed(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(data)
    if path.suffix == ".zst":
        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()
    return data


def is_good(line: str) -> bool:
    fields = line.split("\t")
    return bool(PUBLISHED.match(line)) and all(STRICT_ID.match(text) for text in fields[2:5])


def read_all(root: Path, reference: Reference) -> Reading:
    """All sources together. Changes the statuses of reference's messages to what the providers tell."""
    result = Reading()
    _read_logs(root, result)
    hits = _read_requests(root, result)
    told = _read_posts(root, result)
    _apply_outcomes(told, reference)
    _add_told(told, reference, result)
    _add_hits(hits, reference, result)
    return result


def lines_of(root: Path, source: str, result: Reading) -> Iterator[tuple[str, int, bytes]]:
    """Path, number and bytes of each framed line that is not blank; counts lines, blank ones and what is held."""
    for path in sorted((path for path in (root / source).rglob("*") if path.is_file()), key=str):
        name = str(path.relative_to(root))
        count = result.control[name] = Counter()
        *lines, held = decompressed(path).split(b"\n")
        count["held_bytes"] = len(held)
        for number, raw in enumerate(lines, start=1):
            count["lines"] += 1
            if raw:
                yield name, number, raw
            else:
                count["blank"] += 1


def _read_logs(root: Path, result: Reading) -> None:
    seen: set[bytes] = set()
    for name, number, raw in lines_of(root, "tracking_logs", result):
        count = result.control[name]
        line = raw.decode("latin-1")
        fields = line.split("\t")
        result.pointers[line[0]].add(int(fields[0][3:], 16))
        if not is_good(line):
            count["quarantined"] += 1
            result.quarantined.append((name, number))
        elif raw in seen:
            count["duplicate"] += 1
        else:
            seen.add(raw)
            count["accepted"] += 1
            message, delivery, url = (int(text or "0", 16) for text in fields[2:5])
            result.events.append(
                Event(milliseconds(fields[1]), message, delivery, url, fields[6], fields[9], fields[8])
            )


@dataclass(frozen=True)
class Hit:
    """One page hit, before it is known whose it is. session and job: 0 where the request names none."""

    time_ms: int
    visitor: str
    agent: str
    query: dict[str, str]
    session: tuple[int, int]
    is_refused: bool


def _read_requests(root: Path, result: Reading) -> list[Hit]:
    """Adds the acts on messages, and returns the page hits."""
    seen: set[bytes] = set()
    hits = []
    for name, number, raw in lines_of(root, "access_logs", result):
        count = result.control[name]
        found = REQUEST.match(raw.decode())
        moment = request_time(found["at"]) if found else None
        target = unquote(unquote(found["target"])).replace("&amp;", "&") if found else ""
        link = LINK.match(target)
        query = {key: values[0] for key, values in parse_qs(urlsplit(found["target"]).query).items()} if found else {}
        if found and not target.startswith("/r/"):
            count["not_tracking"] += 1
        elif not found or moment is None or not 200 <= int(found["status"]) < 400 or not (link or "tagid" in query):
            count["quarantined"] += 1
            result.quarantined.append((name, number))
        elif raw in seen:
            count["duplicate"] += 1
        else:
            seen.add(raw)
            count["accepted"] += 1
            cookies = dict(part.split("=", 1) for part in found["cookies"].split("; ") if "=" in part)
            visitor = cookies.get("uuid230", "")
            if link:
                message, delivery, url = (int(text, 16) for text in link.groups()[1:])
                params = target[link.end() :]
                result.events.append(
                    Event(
                        moment, message, delivery, url, visitor, found["agent"], params, found["method"], "access_log"
                    )
                )
            else:
                names = [int(text, 16) for text in cookies.get("nlid", "0|0").split("|")]
                session = names[0], names[1]
                hits.append(Hit(moment, visitor, found["agent"], query, session, cookies.get("acoptout") == "1"))
    return hits


def request_time(text: str) -> int | None:
    try:
        return int(datetime.strptime(text, "%d/%b/%Y:%H:%M:%S %z").timestamp()) * 1000
    except ValueError:
        return None


def _add_hits(hits: list[Hit], reference: Reference, result: Reading) -> None:
    """Under permanent web tracking."""
    contacts: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for event in result.events:
        if event.source != "esp_event":
            delivery = delivery_of(event, reference["messages"])
            if delivery:
                contacts[event.visitor].append((event.time_ms, delivery, event.message))
    for times in contacts.values():
        times.sort()
    tags = reference["web_tags"]
    for hit in hits:
        name, kind, *_ = (hit.query["tagid"] + "|").split("|")
        if (name,) in tags:
            url, url_type = int(tags[name,]["url_id"]), int(tags[name,]["url_type"])
        else:
            url_type = {"w": WEB, "t": TRANSACTION}[kind]
            url = 2**52 + int(hashlib.md5(f"{name}|{url_type}".encode()).hexdigest()[:12], 16)
        known = contacts.get(hit.visitor, [])
        before = known[bisect.bisect_right(known, (hit.time_ms, 2**63, 0)) - 1 :][:1]
        message, delivery = hit.session
        recipient = 0
        if hit.is_refused:
            outcome = "opted_out"
        elif delivery:
            outcome = "session"
        elif "jobid" in hit.query:
            outcome, delivery = "forced", int(hit.query["jobid"], 16)
            recipient = int(hit.query.get("rcpid", "@id=0").removeprefix("@id="))
        elif known and known[0][0] <= hit.time_ms:
            outcome = "last_delivery"
            _, delivery, message = before[0]
        else:
            outcome = "unattributed"
        result.outcomes[outcome] += 1
        if outcome in ("opted_out", "unattributed"):
            continue
        amount = hit.query.get("amount", "0").replace(",", ".")
        is_readable = bool(re.fullmatch(r"\d+(\.\d\d)?", amount))
        result.events.append(
            Event(
                hit.time_ms, message, delivery, url, hit.visitor, hit.agent, source="access_log", known_type=url_type,
                recipient=recipient, cents=round(float(amount) * 100) if is_readable else 0,
                articles=int(hit.query.get("article", "0")),
            )
        )  # fmt: skip


@dataclass(frozen=True)
class Told:
    """One event of a webhook. message and address: whichever names the message."""

    provider: str
    kind: str
    time_ms: int
    message: int
    delivery: int
    recipient: int
    address: str
    url: str
    agent: str
    is_machine: bool
    answer: str


def _read_posts(root: Path, result: Reading) -> list[Told]:
    seen: set[Told] = set()
    told = []
    for name, number, raw in lines_of(root, "esp_events", result):
        count = result.control[name]
        provider = name.split("/")[1]
        try:
            document = json.loads(raw)
            posted = document if isinstance(document, list) else [document]
            if not posted or document_type(posted[0]) == "SubscriptionConfirmation":
                count["not_tracking"] += 1
                continue
            found = [READERS[provider](event) for event in posted]
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
            count["quarantined"] += 1
            result.quarantined.append((name, number))
            continue
        new = [event for event in found if event not in seen]
        count["accepted" if new else "duplicate"] += 1
        seen.update(new)
        told += new
    return told


def document_type(event: Any) -> str:
    return event.get("Type", "") if isinstance(event, dict) else ""


def _sendgrid(event: dict[str, Any]) -> Told:
    kinds = {"spamreport": "complaint"}
    return Told(
        "sendgrid", kinds.get(event["event"], event["event"]), event["timestamp"] * 1000, int(event["message_id"]), 0,
        0, event["email"], event.get("url", ""), event.get("useragent", ""), event.get("sg_machine_open", False),
        event.get("reason", ""),
    )  # fmt: skip


def _mailgun(post: dict[str, Any]) -> Told:
    event = post["event-data"]
    kinds = {"opened": "open", "clicked": "click", "unsubscribed": "unsubscribe", "complained": "complaint"}
    kind = kinds.get(event["event"], event["event"])
    if kind == "failed":
        kind = "bounce" if event["severity"] == "permanent" else "deferred"
    client = event.get("client-info", {})
    return Told(
        "mailgun", kind, round(event["timestamp"] * 1000), int(event["user-variables"]["message_id"]), 0, 0,
        event["recipient"], event.get("url", ""), client.get("user-agent", ""), bool(client.get("bot")),
        event.get("delivery-status", {}).get("message", ""),
    )  # fmt: skip


def _ses(post: dict[str, Any]) -> Told:
    event = json.loads(post["Message"])
    name = event["eventType"]
    detail = event[name[0].lower() + name[1:]]
    kinds = {"Delivery": "delivered", "Subscription": "unsubscribe"}
    answer = detail.get("bouncedRecipients", [{}])[0].get("diagnosticCode", "")
    tags = event["mail"]["tags"]
    return Told(
        "ses", kinds.get(name, name.lower()), iso_milliseconds(detail["timestamp"]), 0, int(tags["delivery_id"][0], 16),
        int(tags["recipient_id"][0]), event["mail"]["destination"][0], detail.get("link", ""),
        detail.get("userAgent", ""), False, answer,
    )  # fmt: skip


def _postmark(event: dict[str, Any]) -> Told:
    kinds = {"Delivery": "delivered", "SpamComplaint": "complaint", "SubscriptionChange": "unsubscribe"}
    kind = kinds.get(event["RecordType"], event["RecordType"].lower())
    if event.get("Type") == "Transient":
        kind = "deferred"
    (moment,) = (event[key] for key in ("DeliveredAt", "BouncedAt", "ReceivedAt", "ChangedAt") if key in event)
    return Told(
        "postmark", kind, iso_milliseconds(moment), 0, int(event["Metadata"]["delivery_id"]), 0,
        event.get("Recipient") or event["Email"], event.get("OriginalLink", ""), event.get("UserAgent", ""), False,
        event.get("Description", ""),
    )  # fmt: skip


READERS = {"sendgrid": _sendgrid, "mailgun": _mailgun, "ses": _ses, "postmark": _postmark}


def iso_milliseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _message_of(told: Told, by_recipient: dict[tuple[int, str], int]) -> int:
    if told.message:
        return told.message
    return by_recipient[told.delivery, str(told.recipient) if told.recipient else told.address.lower()]


def _resolved(told: list[Told], messages: dict[tuple[str, ...], Row]) -> list[Told]:
    by_recipient: dict[tuple[int, str], int] = {}
    for row in messages.values():
        for name in (row["recipient_id"], row["address"].lower()):
            by_recipient[int(row["delivery_id"]), name] = int(row["message_id"])
    return [replace(event, message=_message_of(event, by_recipient)) for event in told]


def _apply_outcomes(told: list[Told], reference: Reference) -> None:
    messages = reference["messages"]
    last: dict[int, Told] = {}
    for event in sorted(_resolved(told, messages), key=lambda event: event.time_ms):
        if event.kind in ("delivered", "bounce", "complaint"):
            last[event.message] = event
    reasons = {"5.1.1": "1", "4.2.2": "5", "5.7.1": "20", "4.4.1": "3"}
    for message, event in last.items():
        row = messages[str(message),]
        failed = event.kind != "delivered"
        is_later = event.time_ms > iso_milliseconds(row["event_at"] + "+00:00")
        if row["status"] in ("3", "5", "6", "8") or (row["status"] == "1" and failed and is_later):
            row["status"] = "2" if failed else "1"
            row["failure_reason"] = "8" if event.kind == "complaint" else "0"
            if event.kind == "bounce":
                (row["failure_reason"],) = (code for text, code in reasons.items() if text in event.answer)
            row["told_by"] = event.provider


def _add_told(told: list[Told], reference: Reference, result: Reading) -> None:
    """Acts that only a provider tells, and what it says of those that our own logs hold."""
    messages, urls = reference["messages"], reference["tracked_urls"]
    own: dict[tuple[int, str], list[int]] = defaultdict(list)
    for position, event in enumerate(result.events):
        if event.message:
            row = urls.get((str(event.url), str(delivery_of(event, messages))))
            own[event.message, "open" if event.url == 1 else row["source_url"] if row else "?"].append(position)
    links = {(row["delivery_id"], row["source_url"]): int(row["url_id"]) for row in urls.values()}
    opt_outs = {row["delivery_id"]: row["source_url"] for row in urls.values() if row["url_type"] == str(OPT_OUT)}
    clicked: set[tuple[int, int]] = set()
    acts = [event for event in _resolved(told, messages) if event.kind in ("open", "click", "unsubscribe")]
    for event in sorted(acts, key=lambda event: event.kind == "unsubscribe"):
        delivery = messages[str(event.message),]["delivery_id"]
        page = {"open": "open", "click": event.url, "unsubscribe": opt_outs[delivery]}[event.kind]
        near = [
            position for position in own[event.message, page]
            if abs(result.events[position].time_ms - event.time_ms) <= MATCH_MS
        ]  # fmt: skip
        if near:
            (position,) = near
            found = result.events[position]
            if event.kind != "unsubscribe" or position not in {place for _, place in clicked}:
                kind = "open" if page == "open" else "opt_out" if page == opt_outs[delivery] else "click"
                if found.source != "esp_event":
                    result.both[int(delivery), kind] += 1
                    clicked.add((event.message, position))
            result.events[position] = replace(found, is_convicted=found.is_convicted or event.is_machine)
            continue
        url = 1 if page == "open" else UNSUBSCRIBED if event.kind == "unsubscribe" else links[delivery, event.url]
        own[event.message, page].append(len(result.events))
        result.events.append(
            Event(
                event.time_ms, event.message, int(delivery), url, f"esp-{event.message}", event.agent,
                source="esp_event",
                known_type=OPT_OUT if event.kind == "unsubscribe" else UNKNOWN_TYPE, is_convicted=event.is_machine,
            )
        )  # fmt: skip


def milliseconds(text: str) -> int:
    moment = datetime.fromisoformat(text.partition(".")[0] + "+00:00")
    return int(moment.timestamp()) * 1000 + int(text.partition(".")[2].ljust(3, "0"))


def newest_rows(root: Path, entity: str, key_size: int) -> dict[tuple[str, ...], Row]:
    rows: dict[tuple[str, ...], Row] = {}
    files = sorted((root / "reference" / entity).iterdir(), key=lambda path: (path.stat().st_mtime, str(path)))
    assert [str(path) for path in files] == sorted(str(path) for path in files)
    for path in files:
        if path.suffix == ".csv":
            with path.open(encoding="utf-8", newline="") as file:
                found = list(csv.DictReader(file))
        else:
            found = [{name: str(value) for name, value in row.items()} for row in pq.read_table(path).to_pylist()]
        for row in found:
            for name in row:
                if name.endswith("_id") and name != "tag_id":
                    row[name] = str(int(row[name]) % 2**32)
            rows[tuple(list(row.values())[:key_size])] = row
    return rows


def judge(events: list[Event], reference: Reference) -> list[str]:
    """The first machine rule that fits each event; empty for people."""
    messages, urls = reference["messages"], reference["tracked_urls"]
    clicks: dict[tuple[int, bool], list[int]] = defaultdict(list)
    for position, event in enumerate(events):
        if event.url != 1 and event.message and event.known_type == UNKNOWN_TYPE:
            clicks[event.message, event.source == "esp_event"].append(position)
    contents: dict[int, set[int]] = defaultdict(set)
    for row in urls.values():
        if row["url_type"] == "1" and row["category"] != "honeypot":
            contents[int(row["delivery_id"])].add(int(row["url_id"]))
    bursts: set[int] = set()
    thorough: set[int] = set()
    trapped: set[int] = set()
    for positions in clicks.values():
        positions.sort(key=lambda position: events[position].time_ms)
        links = contents[delivery_of(events[positions[0]], messages)]
        for last in positions:
            minute = [p for p in positions if 0 <= events[last].time_ms - events[p].time_ms <= 60_000]
            if len(links) >= 3 and links <= {events[p].url for p in minute}:
                thorough.update(minute)
            if is_trap(events[last], messages, urls):
                trapped.update(p for p in positions if abs(events[last].time_ms - events[p].time_ms) <= 10_000)
        for start, first in enumerate(positions):
            window = [p for p in positions[start:] if events[p].time_ms - events[first].time_ms <= 1000]
            second = [p for p in positions if events[p].time_ms // 1000 == events[first].time_ms // 1000]
            if len(window) >= 5:
                bursts.update(window)
            if len({events[p].url for p in second}) >= 2:
                bursts.update(second)
    verdicts = []
    for position, event in enumerate(events):
        verdict = "provider_verdict" if event.is_convicted else ""
        for pattern, found in (("all_links", thorough), ("burst", bursts), ("honeypot", trapped)):
            if position in found:
                verdict = pattern
        if event.agent == "Mozilla/5.0":
            verdict = "apple_mpp"
        elif event.agent.endswith(PREFETCH):
            verdict = "gmail_prefetch"
        if event.method == "HEAD":
            verdict = "head_request"
        if any(text in event.agent for text in BOTS):
            verdict = "known_bot"
        verdicts.append(verdict)
    by_machines = {
        event.message
        for event, verdict in zip(events, verdicts, strict=True)
        if verdict not in ("", "provider_verdict")
    }
    for position, event in enumerate(events):
        sent = messages.get((str(event.message),))
        if verdicts[position] not in ("", "provider_verdict") or event.message not in by_machines or sent is None:
            continue
        if 0 <= event.time_ms - milliseconds(sent["event_at"].replace(" ", "T")) <= 2000:
            verdicts[position] = "too_fast"
    return verdicts


def is_trap(event: Event, messages: dict[tuple[str, ...], Row], urls: dict[tuple[str, ...], Row]) -> bool:
    row = urls.get((str(event.url), str(delivery_of(event, messages))))
    return row is not None and row["category"] == "honeypot"


def delivery_of(event: Event, messages: dict[tuple[str, ...], Row]) -> int:
    row = messages.get((str(event.message),)) if event.delivery == 0 and event.message else None
    return int(row["delivery_id"]) if row else event.delivery


def type_of(event: Event, delivery: int, urls: dict[tuple[str, ...], Row]) -> int:
    if event.url == 1:
        return 2
    row = urls.get((str(event.url), str(delivery)))
    return event.known_type or (int(row["url_type"]) if row else UNKNOWN_TYPE)
