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
from log_ingest.sample.messages import TEXT, MessageBatch
from log_ingest.sample.population import FIRST_RECIPIENT_ID
from log_ingest.sample.scenario import EMAIL_CLICK, MIRROR_PAGE, OFFER_CLICK, OPEN, OPT_OUT, DeliveryPlan
from log_ingest.sample.user_agents import KNOWN_BOT_SUBSTRINGS, RULE_NAMES
from log_ingest.sample.writer import CorruptLine, FileTotals, Gap

_MESSAGE_TRACKING_TYPES = (EMAIL_CLICK, OPEN, OPT_OUT, MIRROR_PAGE, OFFER_CLICK)
_SAMPLED_RECIPIENTS = 200
_UNKNOWN_TYPE = 0

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


class Truth:
    """Counts decisions as they are made; write puts the results into a folder."""

    def __init__(self, recipient_count: int) -> None:
        self._deliveries: list[_Delivery] = []
        self._events_of = np.zeros(recipient_count, dtype=np.int64)
        self._human_events_of = np.zeros(recipient_count, dtype=np.int64)
        self._by_rule = [0] * len(RULE_NAMES)

    def add_delivery(self, plan: DeliveryPlan, messages: MessageBatch, events: npt.NDArray[np.void]) -> None:
        """A declared delivery: its newest message rows, and all its events as one EVENT array."""
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
        self._add(delivery, events, types[events["link"]])

    def add_undeclared(self, delivery_id: int, events: npt.NDArray[np.void]) -> None:
        """A delivery without any reference row (0: unknown): only opens have a known type there."""
        delivery = _Delivery(delivery_id, counts=dict.fromkeys(MESSAGE_COUNTS, 0))
        self._add(delivery, events, np.where(events["url"] == 1, OPEN, _UNKNOWN_TYPE))

    def _add(self, delivery: _Delivery, events: npt.NDArray[np.void], types: npt.NDArray[np.int64]) -> None:
        is_human = events["rule"] == 0
        everyone = _event_counts(events, types)
        people = _event_counts(events[is_human], types[is_human])
        delivery.counts |= everyone | {f"human_{name}": count for name, count in people.items()}
        clicked, click_counts = np.unique(events["url"][events["url"] != 1], return_counts=True)
        delivery.clicks = dict(zip(clicked.tolist(), click_counts.tolist(), strict=True))
        self._deliveries.append(delivery)

        size = len(self._events_of)
        is_known = events["recipient"] >= 0
        self._events_of += np.bincount(events["recipient"][is_known], minlength=size)
        self._human_events_of += np.bincount(events["recipient"][is_known & is_human], minlength=size)
        for rule, count in enumerate(np.bincount(events["rule"], minlength=len(RULE_NAMES)).tolist()):
            self._by_rule[rule] += count

    def write(
        self,
        folder: Path,
        files: Sequence[FileTotals],
        gaps: Iterable[Gap],
        corrupt: Iterable[CorruptLine],
        modified: int,
    ) -> None:
        """Writes truth/: `folder` is created, its files get the time `modified` (seconds since 1970).

        files may come in any order.
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
        _write_totals(folder / "control_totals.csv", files)
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
    label_of = {link.url_id: link.newest_label for link in links}
    details = {link.url_id: (link.newest_label, link.category, link.url_type) for link in links}
    lines: dict[int, int] = {}
    for url_id, clicks in delivery.clicks.items():
        line = line_of[label_of[url_id]] if url_id in label_of else url_id
        lines[line] = lines.get(line, 0) + clicks
    total = sum(lines.values())
    ranked = sorted(lines.items(), key=lambda line: (-line[1], line[0]))
    for position, (url_id, clicks) in enumerate(ranked, start=1):
        label, category, url_type = details.get(url_id, ("", "", ""))
        yield delivery.delivery_id, url_id, label, category, url_type, clicks, percent(clicks, total), position


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
| control_totals.csv | log file, then one row `totals` |
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
* Control totals stand for one run that reads the files in the order of their paths. lines = accepted + duplicate
  + quarantined + blank; held_bytes follow the last newline of a file and belong to no line.
* human_ columns leave out machine events. An event that several rules fit counts for the first of these:
  known_bot: the user agent holds one of {", ".join(f"`{text}`" for text in KNOWN_BOT_SUBSTRINGS)};
  gmail_prefetch: Gmail's prefetch agent; apple_mpp: the user agent is exactly `Mozilla/5.0`;
  burst: five clicks or more, or clicks on two different links, on one message within one second. A click is any
  event but an open, and the burst is exactly the clicks of that second.
  GoogleImageProxy and YahooMailProxy are not machines.
"""
