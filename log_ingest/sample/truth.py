"""What the warehouse must find: indicators computed from what the generator decided, never from what it wrote.

Belongs here: counting decisions, and the arithmetic of the indicators in exact integers and fractions. Does not:
parsing, SQL, or anything shared with the pipeline under test: a mistake there must not repeat itself here.

Memory: counters per delivery and per link, and two integers per recipient. Distinct counts are exact because
all events of a delivery come as one array.
"""

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal, localcontext
from pathlib import Path

import numpy as np
import numpy.typing as npt

from log_ingest.sample import clock
from log_ingest.sample.html import link_positions
from log_ingest.sample.messages import TEXT, MessageBatch
from log_ingest.sample.population import FIRST_RECIPIENT_ID
from log_ingest.sample.provider import Feed
from log_ingest.sample.scenario import (
    APACHE,
    EMAIL_CLICK,
    MIRROR_PAGE,
    NGINX,
    OFFER_CLICK,
    OPEN,
    OPT_OUT,
    PROVIDER,
    SHARED_ON,
    TRACKING_LOG,
    UNSUBSCRIPTION_URL,
    DeliveryPlan,
)
from log_ingest.sample.subscriptions import SERVICES, SUBSCRIBE, Subscriptions
from log_ingest.sample.truth_web import PAGE_COLUMNS, PageCounts, WebTruth
from log_ingest.sample.user_agents import KNOWN_BOT_SUBSTRINGS, RULE_NAMES
from log_ingest.sample.web import PAGES
from log_ingest.sample.writer import CorruptLine, FileTotals, Gap

_MESSAGE_TRACKING_TYPES = (EMAIL_CLICK, OPEN, OPT_OUT, MIRROR_PAGE, OFFER_CLICK)
_SAMPLED_RECIPIENTS = 200
_UNKNOWN_TYPE = 0
_NOT_DRAWN = (OPT_OUT, MIRROR_PAGE, OFFER_CLICK)
_SOFT_REASONS = (2, 3, 4, 5, 6, 20)
_SOURCES = ("tracking_logs", "access_logs", "esp_events")
_KINDS = ("click", "open", "opt_out")

MESSAGE_COUNTS = ("to_deliver_count", "text_count", "success_count", "error_count", "complaint_count")
EVENT_COUNTS = (
    "recipient_open_count", "total_open_count", "opt_out_click_count", "mirror_page_click_count",
    "recipient_click_count", "person_click_count", "total_click_count",
)  # fmt: skip

INDICATOR_COLUMNS = (
    "delivery_id", "delivery_label", "sent_at", "to_deliver_count", "success_count", "error_count",
    "recipient_open_count", "total_open_count", "estimated_recipient_open_count",
    "estimated_total_open_count", "opt_out_click_count", "mirror_page_click_count", "recipient_click_count",
    "person_click_count", "total_click_count", "forward_estimate", "complaint_count", "raw_reactivity",
    "estimated_reactivity", "human_recipient_open_count", "human_total_open_count",
    "human_recipient_click_count", "human_person_click_count", "human_total_click_count",
    "human_opt_out_click_count", "human_mirror_page_click_count",
)  # fmt: skip

STREAM_COLUMNS = (
    "delivery_id", "url_id", "label", "category", "url_type", "click_count", "click_share", "position",
)  # fmt: skip


@dataclass
class _Delivery:
    """Everything counted for one delivery."""

    delivery_id: int
    label: str = ""
    sent_at: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    clicks: dict[int, int] = field(default_factory=dict)
    plan: DeliveryPlan | None = None
    told: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """By kind of act: how many only our own logs tell, only the provider, both."""
    bounces: tuple[int, int, int] = (0, 0, 0)
    """Hard, soft, and messages whose status the provider tells."""
    shares: dict[str, list[int]] = field(default_factory=dict)
    """By network: shares, those of people, opens by people it was shared with, those of people."""
    pages: PageCounts = field(default_factory=PageCounts)


class Truth:
    """Counts decisions as they are made; write puts the results into a folder."""

    def __init__(self, recipient_count: int) -> None:
        self._deliveries: list[_Delivery] = []
        self._events_of = np.zeros(recipient_count, dtype=np.int64)
        self._human_events_of = np.zeros(recipient_count, dtype=np.int64)
        self._by_rule = [0] * len(RULE_NAMES)
        self._by_channel = np.zeros(4, dtype=np.int64)
        self._web = WebTruth(recipient_count)

    def add_delivery(
        self,
        plan: DeliveryPlan,
        messages: MessageBatch,
        events: npt.NDArray[np.void],
        hits: npt.NDArray[np.void],
        feed: Feed | None,
    ) -> None:
        """A declared delivery: its newest message rows, all its events and its page hits as one EVENT array each,
        and what the provider tells; messages have the outcomes of the feed.
        """
        known = messages.is_referenced
        status, reason = messages.status[known], messages.reason[known]
        text_to_deliver = (status != 0) & (messages.content_format[known] == TEXT)
        succeeded = np.isin(status, (1, 3, 4)) & ~messages.is_seed[known]
        sent_ms = plan.sent_ms if plan.has_sent_at else int(messages.event_ms[known].min())
        counts = dict(
            zip(
                MESSAGE_COUNTS,
                (
                    int((status != 0).sum()),
                    int(text_to_deliver.sum()),
                    int(succeeded.sum()),
                    int((status == 2).sum()),
                    int(((status == 2) & (reason == 8)).sum()),
                ),
                strict=True,
            )
        )
        types = np.array([*(link.url_type for link in plan.links), _UNKNOWN_TYPE, OPEN])
        delivery = _Delivery(plan.delivery_id, plan.newest_label, clock.text_of(sent_ms), counts, plan=plan)
        delivery.bounces = (
            int(((status == 2) & (reason == 1)).sum()),
            int(((status == 2) & np.isin(reason, _SOFT_REASONS)).sum()),
            feed.told_outcomes if feed else 0,
        )
        delivery.shares = _shares(plan, events)
        self._add(delivery, events, types[events["link"]], feed)
        self._add_hits(delivery, hits)

    def add_undeclared(self, delivery_id: int, events: npt.NDArray[np.void]) -> None:
        """A delivery without any reference row (0: unknown): only opens have a known type there."""
        delivery = _Delivery(delivery_id, counts=dict.fromkeys(MESSAGE_COUNTS, 0))
        self._add(delivery, events, np.where(events["url"] == 1, OPEN, _UNKNOWN_TYPE))

    @property
    def event_count(self) -> int:
        """Acts, and page hits whether kept or not: what is accepted of all sources, each act once."""
        return int(self._by_channel.sum()) + self._web.dropped_count

    def _add_hits(self, delivery: _Delivery, hits: npt.NDArray[np.void]) -> None:
        kept, delivery.pages = self._web.add(hits)
        visited, counts = np.unique(kept["url"], return_counts=True)
        delivery.clicks |= dict(zip(visited.tolist(), counts.tolist(), strict=True))
        self._by_channel[NGINX] += len(kept)
        self._count_recipients(kept)

    def _add(
        self,
        delivery: _Delivery,
        events: npt.NDArray[np.void],
        types: npt.NDArray[np.int64],
        feed: Feed | None = None,
    ) -> None:
        is_human = events["rule"] == 0
        everyone = _event_counts(events, types)
        people = _event_counts(events[is_human], types[is_human])
        delivery.counts |= everyone | {f"human_{name}": count for name, count in people.items()}
        clicked, click_counts = np.unique(events["url"][events["url"] != 1], return_counts=True)
        delivery.clicks = dict(zip(clicked.tolist(), click_counts.tolist(), strict=True))
        self._deliveries.append(delivery)
        self._by_channel += np.bincount(events["channel"], minlength=4)
        delivery.told = _told_by(events, types, feed.both if feed else {})
        self._count_recipients(events)
        for rule, count in enumerate(np.bincount(events["rule"], minlength=len(RULE_NAMES)).tolist()):
            self._by_rule[rule] += count

    def _count_recipients(self, events: npt.NDArray[np.void]) -> None:
        is_human = events["rule"] == 0
        size = len(self._events_of)
        is_known = events["recipient"] >= 0
        self._events_of += np.bincount(events["recipient"][is_known], minlength=size)
        self._human_events_of += np.bincount(events["recipient"][is_known & is_human], minlength=size)

    def write(
        self,
        folder: Path,
        files: Sequence[FileTotals],
        gaps: Iterable[Gap],
        corrupt: Iterable[CorruptLine],
        subscriptions: Subscriptions,
        modified: int,
    ) -> None:
        """Writes truth/: `folder` is created, its files get the time `modified` (seconds since 1970).

        files are those of all sources, in any order.
        """
        folder.mkdir()
        ordered = sorted(self._deliveries, key=lambda delivery: delivery.delivery_id)
        _write(
            folder / "rpt_tracking_indicators.csv",
            INDICATOR_COLUMNS,
            ([_indicators(delivery)[name] for name in INDICATOR_COLUMNS] for delivery in ordered),
        )
        _write(
            folder / "rpt_url_click_streams.csv",
            STREAM_COLUMNS,
            (row for delivery in ordered for row in _click_streams(delivery)),
        )
        _write(folder / "events_by_recipient.csv", ("recipient_id", "event_count", "human_event_count"),
               self._recipient_rows())  # fmt: skip
        _write(
            folder / "machine_by_rule.csv",
            ("rule", "event_count"),
            zip(RULE_NAMES[1:], self._by_rule[1:], strict=True),
        )
        own_files = [file for file in files if file.path.startswith("tracking_logs/")]
        _write_totals(folder / "control_totals.csv", own_files)
        _write(folder / "source_totals.csv", ("source", *_TOTALS), _source_rows(files))
        _write(folder / "events_by_source.csv", ("source", "event_count"), self._channel_rows())
        _write(
            folder / "rpt_source_reconciliation.csv",
            ("delivery_id", "kind", "only_own_count", "only_esp_count", "both_count"),
            (
                (found.delivery_id, kind, *found.told[kind])
                for found in ordered
                for kind in _KINDS
                if kind in found.told
            ),
        )
        _write(
            folder / "bounces.csv",
            ("delivery_id", "hard_bounce_count", "soft_bounce_count", "complaint_count", "told_by_provider_count"),
            (
                (found.delivery_id, *found.bounces[:2], found.counts["complaint_count"], found.bounces[2])
                for found in ordered if found.plan
            ),
        )  # fmt: skip
        _write(
            folder / "rpt_sharing.csv",
            ("delivery_id", "network", "share_count", "human_share_count", "shared_open_count",
             "human_shared_open_count"),
            (
                (found.delivery_id, network, *counts)
                for found in ordered for network, counts in sorted(found.shares.items())
            ),
        )  # fmt: skip
        _write(folder / "rpt_hot_clicks.csv",
               ("delivery_id", "url_id", "link_position", "click_count", "is_drawn"),
               (row for found in ordered for row in _hot_clicks(found)))  # fmt: skip
        _write(folder / "page_visits.csv", PAGE_COLUMNS, (found.pages.row(found.delivery_id) for found in ordered))
        _write(
            folder / "rpt_web_hits_by_outcome.csv",
            ("outcome", "is_kept", "web_hit_count", "human_web_hit_count"),
            self._web.outcome_rows(),
        )
        _write(folder / "rpt_web_paths.csv", ("path_label", "step_number", "path_visitor_count"), self._web.path_rows())
        _write(
            folder / "subscriptions.csv",
            ("service_id", "subscription_count", "unsubscription_count", "end_subscriber_count"),
            _service_rows(subscriptions),
        )
        _write(
            folder / "gaps.csv",
            ("server", "first_missing_pointer", "last_missing_pointer", "missing_count"),
            (
                (gap.server, gap.first_missing_pointer, gap.last_missing_pointer,
                 gap.last_missing_pointer - gap.first_missing_pointer + 1)
                for gap in gaps
            ),
        )  # fmt: skip
        _write(
            folder / "quarantined_lines.csv",
            ("path", "line_number", "kind"),
            sorted((line.path, line.line_number, line.kind) for line in corrupt),
        )
        (folder / "README.md").write_text(_README, encoding="utf-8")
        for path in folder.iterdir():
            os.utime(path, (modified, modified))

    def _channel_rows(self) -> Iterable[tuple[str, int]]:
        count = self._by_channel.tolist()
        yield "access_log", count[NGINX] + count[APACHE]
        yield "esp_event", count[PROVIDER]
        yield "tracking_log", count[TRACKING_LOG]

    def _recipient_rows(self) -> Iterable[tuple[int, int, int]]:
        """The busiest ten, and others at an even distance, with and without events."""
        size = len(self._events_of)
        busiest = np.argsort(-self._events_of, kind="stable")[:10].tolist()
        spread = range(0, size, max(1, size // (_SAMPLED_RECIPIENTS - 10)))
        for who in sorted({*busiest, *spread}):
            yield who + FIRST_RECIPIENT_ID, int(self._events_of[who]), int(self._human_events_of[who])


def percent(part: int, whole: int) -> str:
    """part / whole as a decimal with 12 places, rounded half up; empty when whole is 0."""
    if whole == 0:
        return ""
    with localcontext() as context:
        context.prec = 40
        ratio = Decimal(part) / Decimal(whole)
        return format(ratio.quantize(Decimal("1e-12"), rounding=ROUND_HALF_UP), "f")


def extrapolate(count: int, to_deliver: int, text: int) -> int:
    """round(count × to_deliver ÷ (to_deliver − text)), half up; 0 when every message is text."""
    if to_deliver == text:
        return 0
    html = to_deliver - text
    return (2 * count * to_deliver + html) // (2 * html)


def _event_counts(events: npt.NDArray[np.void], types: npt.NDArray[np.int64]) -> dict[str, int]:
    def messages_of(chosen: npt.NDArray[np.bool_]) -> int:
        return len(np.unique(events["message"][chosen & (events["message"] > 0)]))

    is_click = types == EMAIL_CLICK
    values = (
        messages_of(np.isin(types, _MESSAGE_TRACKING_TYPES)),
        int((events["url"] == 1).sum()),
        int((types == OPT_OUT).sum()),
        int((types == MIRROR_PAGE).sum()),
        messages_of(is_click),
        len(np.unique(events["visitor"][is_click & (events["visitor"] != 0)])),
        int(is_click.sum()),
    )
    return dict(zip(EVENT_COUNTS, values, strict=True))


def _indicators(delivery: _Delivery) -> Mapping[str, object]:
    count = delivery.counts
    to_deliver, text = count["to_deliver_count"], count["text_count"]
    estimated_opens = extrapolate(count["recipient_open_count"], to_deliver, text)
    return {
        "delivery_id": delivery.delivery_id,
        "delivery_label": delivery.label,
        "sent_at": delivery.sent_at,
        **count,
        "estimated_recipient_open_count": estimated_opens,
        "estimated_total_open_count": extrapolate(count["total_open_count"], to_deliver, text),
        "forward_estimate": count["person_click_count"] - count["recipient_click_count"],
        "raw_reactivity": percent(count["recipient_click_count"], count["recipient_open_count"]),
        "estimated_reactivity": percent(count["recipient_click_count"], estimated_opens),
    }


def _click_streams(delivery: _Delivery) -> Iterable[tuple[object, ...]]:
    """Clicked links, those of one label as one line under the smallest id among the delivery's links of that label."""
    links = delivery.plan.links if delivery.plan else ()
    line_of: dict[str, int] = {}
    for link in sorted(links, key=lambda link: link.url_id):
        line_of.setdefault(link.newest_label, link.url_id)
    details = {link.url_id: (link.newest_label, link.category, link.url_type) for link in links}
    # Pages that visitors came to from this delivery stand beside its links.
    for page in PAGES:
        details[page.url_id] = (page.label, "", page.url_type)
        line_of[page.label] = page.url_id
    details[UNSUBSCRIPTION_URL] = ("Unsubscribed at the provider", "", OPT_OUT)
    line_of["Unsubscribed at the provider"] = UNSUBSCRIPTION_URL
    label_of = {url_id: label for url_id, (label, _, _) in details.items()}
    lines: dict[int, int] = {}
    for url_id, clicks in delivery.clicks.items():
        line = line_of[label_of[url_id]] if url_id in label_of else url_id
        lines[line] = lines.get(line, 0) + clicks
    total = sum(lines.values())
    ranked = sorted(lines.items(), key=lambda line: (-line[1], line[0]))
    for position, (url_id, clicks) in enumerate(ranked, start=1):
        label, category, url_type = details.get(url_id, ("", "", ""))
        yield delivery.delivery_id, url_id, label, category, url_type, clicks, percent(clicks, total), position


def _shares(plan: DeliveryPlan, events: npt.NDArray[np.void]) -> dict[str, list[int]]:
    """By network, of those with any: shares, human shares, shared opens, human shared opens."""
    is_human = events["rule"] == 0
    is_ours = (events["params"] >= plan.share_params) & (events["url"] == 1)
    categories = np.array([*(link.category for link in plan.links), "", ""])[events["link"]]
    found = {}
    for position, network in enumerate(SHARED_ON):
        shared = categories == network
        opened = is_ours & (events["params"] == plan.share_params + position)
        counts = [int(chosen.sum()) for chosen in (shared, shared & is_human, opened, opened & is_human)]
        if any(counts):
            found[network] = counts
    return found


def _told_by(
    events: npt.NDArray[np.void], types: npt.NDArray[np.int64], both: Mapping[str, int]
) -> dict[str, tuple[int, int, int]]:
    is_open = events["url"] == 1
    is_opt_out = ~is_open & (types == OPT_OUT)
    is_esp = events["channel"] == PROVIDER
    found = {}
    for kind, chosen in (("open", is_open), ("opt_out", is_opt_out), ("click", ~is_open & ~is_opt_out)):
        only_esp = int((chosen & is_esp).sum())
        only_own = int((chosen & ~is_esp).sum()) - both.get(kind, 0)
        if chosen.any():
            found[kind] = only_own, only_esp, both.get(kind, 0)
    return found


def _hot_clicks(delivery: _Delivery) -> Iterable[tuple[object, ...]]:
    """The links of the delivery's HTML."""
    if delivery.plan is None:
        return
    types = {link.url_id: link.url_type for link in delivery.plan.links}
    for url_id, position in sorted(link_positions(delivery.plan).items()):
        is_drawn = "false" if types[url_id] in _NOT_DRAWN else "true"
        yield delivery.delivery_id, url_id, position, delivery.clicks.get(url_id, 0), is_drawn


def _service_rows(drawn: Subscriptions) -> Iterable[tuple[int, ...]]:
    for position, (service_id, _, _) in enumerate(SERVICES):
        actions = drawn.action[drawn.service == position]
        left = drawn.is_last_word & (drawn.service == position) & (drawn.action == SUBSCRIBE)
        subscribed = int((actions == SUBSCRIBE).sum())
        yield service_id, subscribed, len(actions) - subscribed, int(left.sum())


_TOTALS = ("lines", "accepted", "duplicate", "quarantined", "blank", "not_tracking", "held_bytes")


def _source_rows(files: Sequence[FileTotals]) -> Iterable[tuple[object, ...]]:
    """A file that was sent again as a whole is no line of its own."""
    for source in _SOURCES:
        own = [file for file in files if file.path.startswith(f"{source}/") and not file.is_whole_file_copy]
        yield source, *(sum(getattr(file, name) for file in own) for name in _TOTALS)


def _write_totals(path: Path, files: Sequence[FileTotals]) -> None:
    names = ("lines", "accepted", "duplicate", "quarantined", "blank", "held_bytes")
    rows: list[tuple[object, ...]] = []
    for file in sorted(files, key=lambda file: file.path):
        values = [getattr(file, name) for name in names]
        rows.append((file.path, *values, int(file.held_bytes > 0), "true" if file.is_whole_file_copy else "false"))
    sums = [sum(getattr(file, name) for file in files) for name in names]
    rows.append(("totals", *sums, sum(file.held_bytes > 0 for file in files), ""))
    _write(path, ("path", *names, "held_files", "is_whole_file_copy"), rows)


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


_README = f"""# What the warehouse must find in this landing folder

Counted from what the generator decided while it drew the sample: nothing here was read back from the files, and
nothing shares code with the pipeline. Counts are exact integers; rates are quotients with 12 decimals, rounded half
up, and empty where the divisor is 0. Ids are unsigned, times are UTC.

| file | one row per |
|---|---|
| rpt_tracking_indicators.csv | delivery |
| rpt_url_click_streams.csv | delivery and link that was clicked |
| control_totals.csv | tracking-log file, then one row `totals` |
| source_totals.csv | source of lines; files sent again as a whole are left out |
| events_by_source.csv | source of counted acts: those that our own log and a provider tell of count for the log |
| rpt_source_reconciliation.csv | delivery and kind of act, of those with any |
| bounces.csv | declared delivery: failed messages, complaints, and messages whose status the provider tells |
| rpt_sharing.csv | delivery and network, of those with any share or open |
| rpt_hot_clicks.csv | link in a delivery's HTML |
| page_visits.csv | delivery: page hits that belong to it, purchases, their amount and articles |
| rpt_web_hits_by_outcome.csv | outcome of page hits under permanent web tracking |
| rpt_web_paths.csv | step of the path |
| subscriptions.csv | service, over all days |
| gaps.csv | run of missing pointers (decimal) |
| quarantined_lines.csv | corrupt line; line_number counts from 1 in the decompressed file |
| events_by_recipient.csv | sampled recipient: the ten busiest, and others with and without events |
| machine_by_rule.csv | machine rule |

Conventions

* rpt_tracking_indicators has every declared delivery, those without events too; one delivery that no reference
  row declares; and delivery 0, for lines that name neither a delivery nor a message that a reference row knows.
* A line that names no delivery counts for the delivery of its message, where a reference row knows that message.
* recipient_open_count: distinct messages over URL types 1, 2, 3, 6 and 11. An unknown message (0 or empty) is
  never one of the distinct messages, nor an empty visitor id one of the distinct persons; their events count.
* Messages without any reference row are not in to_deliver_count, but their events and ids count as any other.
* A link without a tracked_urls row has no type: it counts in the click streams and nowhere else.
* Click streams: links of one label are one line, under the smallest id among the delivery's links of that label;
  position by click_count descending, then url_id; links that nobody clicked have no row.
* The newest reference row of a key wins: labels and statuses are those of the second extract.
* sent_at, when absent from the delivery, is the time of its first message.
* An act that our own log and a provider tell of counts once, with the cookie and link of our own log. One that only a
  provider tells counts as one person per message; an unsubscription names no link: it is
  on the URL id 2^52 - 1, of type 3.
* A provider's delivery, bounce or complaint counts where the platform has no final word (status 3, 5), and a bounce or
  complaint also where it is later than the sending (status 1). Soft: failed with reason 2, 3, 4, 5, 6 or 20.
* Page hits stand in the click streams of the delivery that they belong to, in its recipients' events, and in their own
  counts. A page that its tag made on the fly has the URL id 2^52 plus 48 bits of the md5 of its name and type
  (`spring|4`).
* An amount that cannot be read is a purchase without an amount.
* Control totals stand for one run that reads the files in the order of their paths. lines = accepted + duplicate
  + quarantined + blank (+ not_tracking); held_bytes follow the last newline of a file and belong to no line.
* human_ columns leave out machine events. An event that several rules fit counts for the first of these:
  known_bot: the user agent holds one of {", ".join(f"`{text}`" for text in KNOWN_BOT_SUBSTRINGS)};
  head_request: an access log shows the method HEAD;
  gmail_prefetch: Gmail's prefetch agent; apple_mpp: the user agent is exactly `Mozilla/5.0`;
  honeypot: a link of the category `honeypot` was followed: the clicks of the message within 10 s before and after;
  burst: five clicks or more, or clicks on two different links, on one message within one second. A click is any
  event but an open, and the burst is exactly the clicks of that second; all_links: the clicks of a minute in which
  every email-click link of the delivery (honeypots left out; at least three) was followed; too_fast: at most 2 s after
  the message's event_at, and another rule fits an event of the message. provider_verdict: the provider says so.
  GoogleImageProxy and YahooMailProxy are not machines.
"""
