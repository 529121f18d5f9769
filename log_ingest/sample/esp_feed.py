"""The webhook files of the providers: POSTs, repeated ones, what is wrong in them, and what they hold.

Belongs here: files of lines below esp_events/ and the control totals of the source. Does not: payloads (esp_payloads),
what is told (provider). A provider tells of a bounded number of messages (scenario): its lines are made in memory.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from log_ingest.sample import clock, user_agents
from log_ingest.sample.behaviour import IP_POOL_SIZE
from log_ingest.sample.esp_payloads import (
    EVENTS_PER_POST,
    MANGLED,
    NO_EVENTS,
    PAYLOADS,
    WITHOUT_PROCESSED,
    Told,
)
from log_ingest.sample.files import OpenFile
from log_ingest.sample.messages import MessageBatch
from log_ingest.sample.population import FIRST_RECIPIENT_ID, Population
from log_ingest.sample.provider import PROCESSED, Feed
from log_ingest.sample.scenario import DeliveryPlan
from log_ingest.sample.texts import addresses
from log_ingest.sample.writer import CorruptLine, FileTotals

_SUFFIXES = (".jsonl.gz", ".jsonl", ".jsonl.zst")
"""One file each: the first, the middle and the last third of the POSTs."""
_REPEATED_EACH = 33


class EspFiles:
    """Writes esp_events/. Call add once for each delivery that a provider tells of."""

    def __init__(self, root: Path, population: Population, rng: np.random.Generator) -> None:
        """root is the landing folder. Draws the pool of addresses from rng."""
        self.totals: list[FileTotals] = []
        self.corrupt_lines: list[CorruptLine] = []
        self.byte_count = 0
        self._root, self._population = root, population
        self._ips = addresses(IP_POOL_SIZE, rng)

    def add(self, plan: DeliveryPlan, messages: MessageBatch, feed: Feed) -> None:
        """The files of plan.provider, each with the time of its last event."""
        provider = plan.provider
        events = self._events(plan, messages, feed)
        size = EVENTS_PER_POST.get(provider, 1)
        posts = [events[start : start + size] for start in range(0, len(events), size)]
        folder = f"esp_events/{provider}"
        (self._root / folder).mkdir(parents=True)
        bounds = [len(posts) * part // len(_SUFFIXES) for part in range(len(_SUFFIXES) + 1)]
        for part, suffix in enumerate(_SUFFIXES):
            own = posts[bounds[part] : bounds[part + 1]]
            # Not answered in time: told once more, under another id, while the next ones come in.
            again = posts[bounds[part - 1] : bounds[part]][::_REPEATED_EACH] if part else []
            lines = [_line(provider, post) for post in own]
            lines += [_line(provider, [replace(told, attempt=1) for told in post]) for post in again]
            total = FileTotals(f"{folder}/{part + 1:04d}{suffix}", accepted=len(own), duplicate=len(again))
            if part == 1:
                lines += self._spoiled(provider, total, len(lines))
            total.lines = len(lines)
            self.totals.append(total)
            file = OpenFile(self._root / total.path)
            file.write("".join(f"{line}\n" for line in lines).encode())
            last = own[-1][-1].moment_ms if own else plan.sent_ms + clock.HOUR_MS
            self.byte_count += file.close(last // 1000)

    def _events(self, plan: DeliveryPlan, messages: MessageBatch, feed: Feed) -> list[Told]:
        told = feed.told
        if plan.provider in WITHOUT_PROCESSED:
            told = told[told["kind"] != PROCESSED]
        who = messages.recipient[told["row"]]
        recipients = self._population.addresses(who).to_pylist()
        urls = [*(link.source_url for link in plan.links), "", ""]
        return [
            Told(
                kind=int(event["kind"]),
                moment_ms=int(event["moment_ms"]),
                number=number,
                message_id=int(messages.message_id[event["row"]]),
                delivery_id=plan.delivery_id,
                recipient_id=int(who[number]) + FIRST_RECIPIENT_ID,
                address=recipients[number],
                url=urls[event["link"]],
                user_agent=user_agents.AGENTS[event["agent"]].text,
                ip=self._ips[event["ip"]],
                verdict=int(event["verdict"]),
            )
            for number, event in enumerate(told)
        ]

    def _spoiled(self, provider: str, total: FileTotals, count: int) -> list[str]:
        lines = []
        if provider in NO_EVENTS:
            lines.append(NO_EVENTS[provider])
            total.not_tracking += 1
        if provider in MANGLED:
            kind, text = MANGLED[provider]
            lines.append(text)
            total.quarantined += 1
            self.corrupt_lines.append(CorruptLine(total.path, count + len(lines), kind))
        return lines


def _line(provider: str, post: list[Told]) -> str:
    payloads = [PAYLOADS[provider](told) for told in post]
    return json.dumps(payloads if provider in EVENTS_PER_POST else payloads[0], separators=(",", ":"))
