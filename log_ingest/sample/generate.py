"""Runs the story from the first delivery to the last, and keeps memory bounded while doing so.

Belongs here: the order of things, and the one buffer between what happens and what is written. Does not: any
decision about content.

Deliveries are drawn in the order they leave. No event comes before its delivery leaves, so everything that
arrives before the next delivery leaves can be written: the buffer holds the tails of recent deliveries only.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from log_ingest.sample import clock
from log_ingest.sample.access_lines import AccessFormatter
from log_ingest.sample.behaviour import EVENT, act, act_without_reference
from log_ingest.sample.esp_feed import EspFiles
from log_ingest.sample.lines import LineFormatter
from log_ingest.sample.messages import draw_messages
from log_ingest.sample.population import draw_population
from log_ingest.sample.provider import tell
from log_ingest.sample.reference import ReferenceWriter
from log_ingest.sample.scenario import APACHE, NGINX, PROVIDER, SIGN_BIT, TRACKING_LOG, DeliveryPlan, plan_scenario
from log_ingest.sample.site_log import SiteLog
from log_ingest.sample.subscriptions import draw_subscriptions
from log_ingest.sample.truth import Truth
from log_ingest.sample.web import visit
from log_ingest.sample.writer import ServerLog

Progress = Callable[[int, int], None]
"""Called with the events written so far and the events expected."""

MIN_EVENTS = 1_000
MAX_EVENTS = 100_000_000
_FOLDERS = ("tracking_logs", "access_logs", "esp_events", "reference", "truth")
_SERVERS = (("redir1", "5", 0x0FD7E000), ("redir2", "6", 0x0FD7E000))
# Their rotated files, in turn: gzip is slow to write.
_SITES = ((NGINX, "shop-nginx", (".gz", ".zst", ".zst")), (APACHE, "links-apache", (".zst",)))
_MAX_LINES_PER_FILE = 250_000
_MAX_REQUESTS_PER_FILE = 100_000
_WRITE_EVENTS = 131_072
_FIRST_GUESS = 1.5
"""Events per message before any were drawn; later deliveries use what the earlier ones gave."""

# One independent random stream per purpose: a change in one leaves the others as they were.
_SCENARIO, _POPULATION, _TEXTS, _UNREFERENCED, _SPLIT, _DELIVERY = range(6)
_SITE_TEXTS, _SITE, _TELLING, _VISITS, _PROVIDERS, _SUBSCRIPTIONS = range(6, 12)


@dataclass(frozen=True)
class SampleSummary:
    """What was written. events are distinct acts and page hits, whoever tells of them; lines are all framed ones of
    all logs and webhooks, copies and faults too.
    """

    directory: Path
    events: int
    lines: int
    log_files: int
    deliveries: int
    messages: int
    recipients: int
    byte_count: int


def write_sample(
    directory: Path, *, events: int = 60_000, seed: int = 20240501, progress: Progress | None = None
) -> SampleSummary:
    """Writes tracking_logs/, access_logs/, esp_events/, reference/ and truth/ into `directory`, made when missing.

    `events` (1 000 to 100 million) is met within about one percent; below some thousands, within a tenth. The same
    seed and events give the same bytes and modification times. The folders appear only when all is
    written. Memory is bounded by the largest delivery (about 300 000 events) and the population (at most two
    million recipients): below half a gigabyte for any size.

    Raises ValueError for events out of range and FileExistsError when one of the folders is already there.
    """
    if not MIN_EVENTS <= events <= MAX_EVENTS:
        raise ValueError(f"events must be between {MIN_EVENTS} and {MAX_EVENTS}, not {events}")
    for name in _FOLDERS:
        if (directory / name).exists():
            raise FileExistsError(f"{directory / name} exists already: give an empty folder")
    work = directory / ".sample.partial"
    if work.exists():
        # Left by a run that was stopped.
        shutil.rmtree(work)
    work.mkdir(parents=True)
    summary = _Run(work, events, seed, progress or (lambda done, expected: None)).write(directory)
    for name in _FOLDERS:
        (work / name).rename(directory / name)
    work.rmdir()
    return summary


class _Run:
    """One generation."""

    def __init__(self, root: Path, events: int, seed: int, progress: Progress) -> None:
        self._root, self._events, self._seed, self._progress = root, events, seed, progress
        self._scenario = plan_scenario(events, self._rng(_SCENARIO))
        self._population = draw_population(events, self._rng(_POPULATION))
        self._truth = Truth(len(self._population))
        self._subscriptions = draw_subscriptions(self._population, self._rng(_SUBSCRIPTIONS))
        self._reference = ReferenceWriter(root, self._scenario, self._population, self._subscriptions)
        self._providers = EspFiles(root, self._population, self._rng(_PROVIDERS))
        formatter = LineFormatter(self._scenario.params, self._rng(_TEXTS))
        lines_per_file = min(_MAX_LINES_PER_FILE, events // 12)
        self._servers = [
            ServerLog(root, f"tracking_logs/{folder}", character, pointer, lines_per_file, formatter)
            for folder, character, pointer in _SERVERS
        ]
        requests = AccessFormatter(self._scenario.params, self._rng(_SITE_TEXTS))
        self._sites = {
            channel: SiteLog(
                root,
                site,
                is_apache=channel == APACHE,
                suffixes=suffixes,
                lines_per_file=min(_MAX_REQUESTS_PER_FILE, max(50, events // 30)),
                formatter=requests,
                rng=self._rng(_SITE, channel),
            )
            for channel, site, suffixes in _SITES
        }
        self._split = self._rng(_SPLIT)
        self._buffer = np.zeros(0, dtype=EVENT)
        self._written = 0
        self._told = 0
        self._drawn_events = 0
        self._drawn_messages = 0
        self._message_count = 0
        # Ids pass 2**31 on the way, where the reference files turn negative.
        self._next_message = SIGN_BIT - int(events * 0.2)

    def write(self, directory: Path) -> SampleSummary:
        plans = self._scenario.deliveries
        self._add_unreferenced()
        weight = sum(plan.weight for plan in plans)
        for number, plan in enumerate(plans):
            self._add_delivery(plan, weight)
            weight -= plan.weight
            # Nothing happens to a pending delivery: the events before it stay, so that the end has some to write.
            if number + 1 < len(plans) and not plans[number + 1].is_pending:
                self._write_until(plans[number + 1].sent_ms)
        self._write_rest()
        self._reference.finish()
        writers: list[ServerLog | SiteLog | EspFiles] = [*self._servers, *self._sites.values(), self._providers]
        totals = [file for writer in writers for file in writer.totals]
        self._truth.write(
            self._root / "truth",
            totals,
            [gap for server in self._servers for gap in server.gaps],
            [line for writer in writers for line in writer.corrupt_lines],
            self._subscriptions,
            self._scenario.second_extract_ms // 1000,
        )
        return SampleSummary(
            directory=directory,
            events=self._truth.event_count,
            lines=sum(file.lines for file in totals),
            log_files=len(totals),
            deliveries=len(plans),
            messages=self._message_count,
            recipients=len(self._population),
            byte_count=self._reference.byte_count + sum(writer.byte_count for writer in writers),
        )

    def _add_unreferenced(self) -> None:
        start = clock.START_MS + clock.DAY_MS
        known_nothing = min(400, max(16, self._events // 4_000))
        undeclared = min(2_000, max(24, self._events // 600))
        rng = self._rng(_UNREFERENCED)
        # Message ids far above those of the messages that have a row.
        nothing = act_without_reference(0, 0xF0000000, start, known_nothing, rng)
        delivery_id = self._scenario.undeclared_delivery_id
        others = act_without_reference(delivery_id, 0xF1000000, start + 13_000, undeclared, rng)
        self._truth.add_undeclared(0, nothing)
        self._truth.add_undeclared(delivery_id, others)
        self._take(nothing)
        self._take(others)

    def _add_delivery(self, plan: DeliveryPlan, weight_left: float) -> None:
        count = plan.fixed_messages or self._message_target(plan, weight_left)
        rng = self._rng(_DELIVERY, plan.index)
        messages = draw_messages(plan, count, self._next_message, self._population, rng)
        self._next_message += count
        events = act(plan, messages, self._population, rng)
        feed = tell(plan, messages, events, self._rng(_TELLING, plan.index)) if plan.provider else None
        hits = visit(plan, events, self._population, self._rng(_VISITS, plan.index))
        self._truth.add_delivery(plan, feed.messages if feed else messages, events, hits, feed)
        self._reference.add_messages(plan, messages)
        if feed:
            self._providers.add(plan, messages, feed)
        is_logged = events["channel"] != PROVIDER
        self._take(events[is_logged], hits)
        self._told += len(events) - int(is_logged.sum())
        self._message_count += count
        if plan.weight and not plan.is_text_only:
            self._drawn_messages += count
            self._drawn_events += len(events) + len(hits)

    def _message_target(self, plan: DeliveryPlan, weight_left: float) -> int:
        """How many messages bring this delivery's share of the events that are still missing."""
        missing = max(0, self._events - self._written - self._told - len(self._buffer))
        seen = self._drawn_messages
        per_message = self._drawn_events / seen if seen else _FIRST_GUESS
        count = int(missing * plan.weight / weight_left / per_message)
        return max(60, min(count, len(self._population) * 9 // 10))

    def _take(self, *events: npt.NDArray[np.void]) -> None:
        self._buffer = np.concatenate([self._buffer, *events])

    def _write_until(self, moment_ms: int) -> None:
        arrival = self._buffer["arrival_ms"].copy()
        is_ready = arrival < moment_ms
        row = np.flatnonzero(is_ready)
        order = row[np.argsort(arrival[row], kind="stable")]
        waiting = self._buffer.take(np.flatnonzero(~is_ready))
        buffer, self._buffer = self._buffer, waiting
        self._write_sorted(buffer, order)

    def _write_rest(self) -> None:
        """The last lines go to one more plain file per server; server 6's breaks off in the middle of a line."""
        ordered = self._buffer[np.argsort(self._buffer["arrival_ms"], kind="stable")]
        self._finish_sites(ordered)
        rest = ordered[ordered["channel"] == TRACKING_LOG]
        order = np.arange(len(rest))
        last_count = max(20, min(len(rest) // 2, self._events // 50))
        self._write_sorted(rest, order[:-last_count])
        for server in self._servers:
            server.begin_last_file()
        self._write_sorted(rest, order[-last_count:])
        first, second = self._servers
        first.finish()
        held = rest.take(order[-1:])
        held["occurred_ms"] += 500
        held["message"] = 0
        second.finish(held)
        first.resend_first_file()

    def _finish_sites(self, ordered: npt.NDArray[np.void]) -> None:
        for channel, site in self._sites.items():
            requests = ordered[ordered["channel"] == channel]
            last = min(len(requests), self._events // 100)
            site.write(requests[: len(requests) - last])
            site.finish(requests[len(requests) - last :])
            self._written += len(requests)

    def _write_sorted(self, events: npt.NDArray[np.void], order: npt.NDArray[np.int64]) -> None:
        """Writes the events at the positions `order`: to their site, else each to a server drawn at random."""
        for start in range(0, len(order), _WRITE_EVENTS):
            block = order[start : start + _WRITE_EVENTS]
            channel = events["channel"][block]
            for site_channel, site in self._sites.items():
                site.write(events.take(block[channel == site_channel]))
            own = block[channel == TRACKING_LOG]
            is_first = self._split.random(len(own)) < 0.5
            for server, chosen in zip(self._servers, (is_first, ~is_first), strict=True):
                server.write(events.take(own[chosen]))
            self._written += len(block)
            self._progress(self._written, max(self._events, self._written))

    def _rng(self, *purpose: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self._seed, *purpose])))
