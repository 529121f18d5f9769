"""The reference extracts: a full one, and a later one with what changed and what came late.

Belongs here: files below reference/, their columns and their modification times. Does not: what the rows say
(scenario, population, messages). Ids of 2**31 and more are written as the platform exports them: negative.

The newest row per key wins, newest by (modification time, path, row). Times rise in the order of the extracts,
and names carry the extract's date, so that the order of the paths agrees.
"""

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from log_ingest.sample import clock
from log_ingest.sample.html import html_content, text_content
from log_ingest.sample.messages import FORMAT_NAMES, MessageBatch
from log_ingest.sample.population import DOMAINS, FIRST_RECIPIENT_ID, Population
from log_ingest.sample.scenario import SIGN_BIT, DeliveryPlan, Scenario
from log_ingest.sample.subscriptions import SERVICES, Subscriptions
from log_ingest.sample.web import PAGES, PATH, PATH_LABEL

_PART_ROWS = 500_000
_RECIPIENT_BLOCK = 100_000
_MESSAGE_COLUMNS = (
    "message_id", "delivery_id", "recipient_id", "address", "status", "failure_reason", "event_at",
    "content_format", "is_seed", "is_control",
)  # fmt: skip
_URL_COLUMNS = ("url_id", "delivery_id", "label", "source_url", "category", "url_type")
_DELIVERY_COLUMNS = (
    "delivery_id", "internal_name", "label", "campaign_label", "channel", "typology", "is_proof", "sent_at",
    "validity_end_at", "target_count", "rejected_count", "to_deliver_count", "html_content", "text_content",
    "message_size_bytes",
)  # fmt: skip


def signed(identifier: int) -> int:
    """The signed 32-bit view of an id."""
    return identifier - 2 * SIGN_BIT if identifier >= SIGN_BIT else identifier


class ReferenceWriter:
    """Writes reference/. Messages stream in per delivery; the rest is written by finish."""

    def __init__(self, root: Path, scenario: Scenario, population: Population, subscriptions: Subscriptions) -> None:
        self._root = root / "reference"
        self._scenario, self._population, self._subscriptions = scenario, population, subscriptions
        full, second = self._moments()
        self._full_messages = _MessageFiles(self._root, f"{full[0]}_full", full[1])
        self._second_messages = _MessageFiles(self._root, f"{second[0]}_incremental", second[1])
        self._delivery_counts: dict[int, tuple[int, int]] = {}
        self.byte_count = 0

    def add_messages(self, plan: DeliveryPlan, messages: MessageBatch) -> None:
        """Writes the messages of one delivery to the extracts that know them."""
        referenced = messages.is_referenced
        rejected = int((messages.status[referenced] == 0).sum())
        self._delivery_counts[plan.delivery_id] = int(referenced.sum()), rejected
        if not len(messages):
            return
        addresses = self._population.addresses(messages.recipient)
        for files, chosen, status, reason, delay in (
            (self._full_messages, messages.in_full_extract, messages.first_status, messages.first_reason, 0),
            (self._second_messages, messages.in_second_extract, messages.status, messages.reason, 1),
        ):
            row = np.flatnonzero(chosen)
            message_id = messages.message_id[row]
            event_ms = messages.event_ms[row] + delay * clock.HOUR_MS
            kinds = pa.array(FORMAT_NAMES).take(pa.array(messages.content_format[row]))
            table = pa.table(
                [
                    pa.array(_signed_ids(message_id)),
                    pa.array(np.full(len(row), signed(plan.delivery_id))),
                    pa.array(messages.recipient[row] + FIRST_RECIPIENT_ID),
                    addresses.take(pa.array(row)),
                    pa.array(status[row]),
                    pa.array(reason[row]),
                    clock.texts_of(event_ms),
                    kinds,
                    pa.array(messages.is_seed[row]),
                    pa.array(messages.is_control[row]),
                ],
                names=list(_MESSAGE_COLUMNS),
            )
            files.write(table)

    def finish(self) -> None:
        """Writes the other entities and closes the messages."""
        self.byte_count += self._full_messages.close() + self._second_messages.close()
        plans = self._scenario.deliveries
        self._write_csv("deliveries", False, _DELIVERY_COLUMNS, [self._delivery_row(p, False) for p in plans])
        relabelled = [plan for plan in plans if plan.new_label]
        # An extract repeats rows that did not change, too.
        second = [self._delivery_row(plan, True) for plan in (*relabelled, plans[0])]
        self._write_csv("deliveries", True, _DELIVERY_COLUMNS, second)

        rows = [_url_row(plan, position, False) for plan in plans for position in range(len(plan.links))]
        self._write_csv("tracked_urls", False, _URL_COLUMNS, rows)
        changed = [
            _url_row(plan, position, True)
            for plan in plans
            for position, link in enumerate(plan.links)
            if link.new_label
        ]
        self._write_csv("tracked_urls", True, _URL_COLUMNS, changed)

        listed = [(domain, label) for domain, label, _ in DOMAINS if label]
        first = [(domain, "Microsoft (old)" if domain.startswith("hotmail") else label) for domain, label in listed]
        self._write_csv("mail_domains", False, ("domain", "domain_label"), first)
        hotmail = pa.table({"domain": ["hotmail.example"], "domain_label": ["Microsoft"]})
        self._write_parquet("mail_domains", True, [hotmail])
        self._write_recipients()
        self._write_subscriptions()
        self._write_pages()

    def _write_subscriptions(self) -> None:
        self._write_csv("services", False, ("service_id", "label", "channel"), SERVICES)
        drawn = self._subscriptions
        table = pa.table(
            {
                "service_id": pa.array([identifier for identifier, _, _ in SERVICES]).take(pa.array(drawn.service)),
                "recipient_id": pa.array(drawn.recipient + FIRST_RECIPIENT_ID),
                "action": pa.array(drawn.action),
                "occurred_at": clock.texts_of(drawn.occurred_ms),
            }
        )
        # The second extract repeats some rows that the first one holds.
        known, repeated = table.num_rows * 4 // 5, table.num_rows * 3 // 4
        self._write_parquet("subscriptions", False, [table.slice(0, known)])
        later = table.slice(repeated)
        rows = zip(*later.to_pydict().values(), strict=True)
        self._write_csv("subscriptions", True, later.column_names, rows)

    def _write_pages(self) -> None:
        declared = [page for page in PAGES if page.declared_url_id]
        rows = [(page.tag, page.url_id, page.label, page.url_type, "shop") for page in declared]
        self._write_csv("web_tags", False, ("tag_id", "url_id", "label", "url_type", "folder"), rows)
        steps = [(PATH_LABEL, number, PAGES[page].url_id) for number, page in enumerate(PATH, start=1)]
        self._write_csv("web_paths", False, ("path_label", "step_number", "url_id"), steps)

    def _write_recipients(self) -> None:
        size = len(self._population)
        blocks = (
            self._population.table(np.arange(start, min(size, start + _RECIPIENT_BLOCK)))
            for start in range(0, size, _RECIPIENT_BLOCK)
        )
        self._write_parquet("recipients", False, blocks)
        changed = self._population.table(np.arange(7, size, max(97, size // 5_000)))
        columns = changed.to_pydict()
        columns["is_denylisted"] = ["true"] * changed.num_rows
        columns["created_at"] = [moment.strftime("%Y-%m-%d %H:%M:%S") for moment in columns["created_at"]]
        self._write_csv("recipients", True, changed.column_names, zip(*columns.values(), strict=True))

    def _delivery_row(self, plan: DeliveryPlan, is_second: bool) -> tuple[object, ...]:
        total, rejected = self._delivery_counts.get(plan.delivery_id, (0, 0))
        page, text = html_content(plan), text_content(plan)
        return (
            signed(plan.delivery_id),
            plan.key,
            plan.newest_label if is_second else plan.label,
            plan.campaign,
            "email",
            plan.typology,
            "true" if plan.is_proof else "false",
            clock.text_of(plan.sent_ms) if plan.has_sent_at else "",
            clock.text_of(plan.sent_ms + 30 * clock.DAY_MS),
            total,
            rejected,
            total - rejected,
            page,
            text,
            len(page.encode()) + len(text.encode()) + 2_048,
        )

    def _moments(self) -> tuple[tuple[str, int], tuple[str, int]]:
        """Date for the names and modification time in seconds, for each extract."""
        full, second = self._scenario.full_extract_ms, self._scenario.second_extract_ms
        return (clock.day_of(full), full // 1000), (clock.day_of(second), second // 1000)

    def _path(self, entity: str, is_second: bool, suffix: str) -> tuple[Path, int]:
        date, modified = self._moments()[is_second]
        folder = self._root / entity
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{entity}_{date}_{'incremental' if is_second else 'full'}{suffix}", modified

    def _write_csv(
        self, entity: str, is_second: bool, columns: Sequence[str], rows: Iterable[Sequence[object]]
    ) -> None:
        path, modified = self._path(entity, is_second, ".csv")
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(rows)
        self.byte_count += _stamp(path, modified)

    def _write_parquet(self, entity: str, is_second: bool, tables: Iterable[pa.Table]) -> None:
        path, modified = self._path(entity, is_second, ".parquet")
        writer: pq.ParquetWriter | None = None
        for table in tables:
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
        if writer is not None:
            writer.close()
            self.byte_count += _stamp(path, modified)


class _MessageFiles:
    """One extract of messages, as CSV parts of at most about _PART_ROWS rows."""

    def __init__(self, root: Path, name: str, modified: int) -> None:
        self._folder, self._name, self._modified = root / "messages", name, modified
        self._folder.mkdir(parents=True, exist_ok=True)
        self._part = 0
        self._rows = 0
        self._bytes = 0
        self._file: BinaryIO | None = None
        self._path = self._folder
        self._open()

    def write(self, table: pa.Table) -> None:
        if self._rows and self._rows + table.num_rows > _PART_ROWS:
            self._close_part()
            self._open()
        pacsv.write_csv(table, self._file, pacsv.WriteOptions(include_header=False, quoting_style="none"))
        self._rows += table.num_rows

    def close(self) -> int:
        """Returns the bytes written."""
        self._close_part()
        return self._bytes

    def _open(self) -> None:
        self._part += 1
        self._rows = 0
        self._path = self._folder / f"messages_{self._name}_{self._part:04d}.csv"
        self._file = self._path.open("wb")
        self._file.write((",".join(_MESSAGE_COLUMNS) + "\n").encode())

    def _close_part(self) -> None:
        assert self._file is not None
        self._file.close()
        self._bytes += _stamp(self._path, self._modified + self._part)


def _url_row(plan: DeliveryPlan, position: int, is_second: bool) -> tuple[object, ...]:
    link = plan.links[position]
    label = link.newest_label if is_second else link.label
    row = signed(link.url_id), signed(plan.delivery_id), label, link.source_url, link.category, link.url_type
    return row


def _signed_ids(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.where(ids >= SIGN_BIT, ids - 2 * SIGN_BIT, ids)


def _stamp(path: Path, modified: int) -> int:
    os.utime(path, (modified, modified))
    return path.stat().st_size
