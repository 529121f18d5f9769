"""A landing folder that grows hour by hour, with everything that couriers do to files, and the numbers that must come
out.

Belongs here: making files, mishandling them, counting by what was decided. Does not: reading any of the pipeline's
code.
"""

import csv
import gzip
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

BEGIN = datetime(2026, 3, 2, tzinfo=UTC)
DELIVERIES = range(501, 506)
RECIPIENTS = range(9_100_001, 9_100_201)
ERASED = RECIPIENTS[7]
ERASED_WORDS = {"0eeeeeee-7777-4777-8777-eeeeeeeeeeee", "to.be.erased@soak.example", "Erasmus-of-Soak"}
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"


class Landing:
    """The folder and its truth: events and clicks by delivery, of the lines that are there whole."""

    def __init__(self, root: Path, rng: random.Random, lines_per_hour: int) -> None:
        self.root, self.rng, self.lines_per_hour = root, rng, lines_per_hour
        self.hour, self.pointers = 0, {"5": 0x1000, "6": 0x1000}
        self.clicks: Counter[int] = Counter()
        self.events, self.corrupt = 0, 0
        self.is_erased = False
        self._current: dict[str, Path] = {}
        self._pending: list[tuple[Path, bytes]] = []
        self._held_back: tuple[int, Counter[int]] = (0, Counter())
        self._statuses = dict.fromkeys(RECIPIENTS, 1)
        self._write_reference()

    @property
    def expected(self) -> tuple[int, dict[int, int]]:
        """Events, and clicks by delivery, of what is there whole."""
        return self.events - self._held_back[0], dict(self.clicks - self._held_back[1])

    def next_hour(self) -> None:
        """Each server's file of this hour; what was brought broken comes whole."""
        for path, data in self._pending:
            path.write_bytes(data)
        self._pending.clear()
        self._held_back = 0, Counter()
        self.hour += 1
        for server in self.pointers:
            lines = self._lines(server, self.lines_per_hour // 2, BEGIN + timedelta(hours=self.hour))
            if server not in self._current or self.rng.random() < 0.6:
                self._current[server] = self._path(server, self.pointers[server])
            self._append(self._current[server], lines)

    # -- what happens to files

    def mishandlings(self) -> dict[str, Callable[[], None]]:
        return {
            "truncated": self.truncated, "duplicate": self.duplicate, "rename": self.rename, "gzip": self.gzip,
            "rotation": self.rotation, "corrupt line": self.corrupt_line, "late lines": self.late_lines,
            "reference change": self.reference_change,
        }  # fmt: skip

    def truncated(self) -> None:
        """A compressed file of which only the beginning is there now, and all at the next hour."""
        path = self._path("5", self.pointers["5"], ".log.gz")
        had = self.events, self.clicks.copy()
        whole = gzip.compress(b"".join(self._lines("5", 10, BEGIN + timedelta(hours=self.hour))))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(whole[: len(whole) * 2 // 3])
        self._held_back = self.events - had[0], self.clicks - had[1]
        self._pending.append((path, whole))

    def duplicate(self) -> None:
        path = self._any()
        shutil.copyfile(path, path.with_name(f"again-{self.hour}-{path.name}"))

    def rename(self) -> None:
        path = self._any()
        path.rename(path.with_name(f"moved-{self.hour}-{path.name}"))

    def gzip(self) -> None:
        path = self._any(plain=True)
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()

    def rotation(self) -> None:
        """Copied away and emptied, and written on under the old name."""
        path = self._current["6"]
        if path.exists():
            shutil.copyfile(path, path.with_name(f"rotated-{self.hour}-{path.name}"))
            os.truncate(path, 0)
            self._append(path, self._lines("6", 5, BEGIN + timedelta(hours=self.hour)))

    def corrupt_line(self) -> None:
        self.corrupt += 1
        self._append(self._path("5", self.pointers["5"]), [f"50x{0xFFFF0000 + self.corrupt:016X}\tno line\n".encode()])

    def late_lines(self) -> None:
        lines = self._lines("6", 10, BEGIN - timedelta(days=30))
        self._append(self._path("6", self.pointers["6"], "-late.log"), lines)

    def reference_change(self) -> None:
        for recipient in self.rng.sample(RECIPIENTS, 10):
            self._statuses[recipient] = self.rng.choice([1, 2])
        self._write_reference()

    # -- files

    def _any(self, *, plain: bool = False) -> Path:
        """A file that nothing is written to any more."""
        busy = {*self._current.values(), *(path for path, _ in self._pending)}
        files = [path for path in sorted((self.root / "tracking_logs").rglob("*.log*")) if path not in busy]
        files = [path for path in files if not (plain and path.suffix == ".gz")]
        if not files:
            server = self.rng.choice("56")
            files = [self._path(server, self.pointers[server])]
            self._append(files[0], self._lines(server, 5, BEGIN + timedelta(hours=self.hour)))
        return self.rng.choice(files)

    def _path(self, server: str, pointer: int, suffix: str = ".log") -> Path:
        return self.root / "tracking_logs" / f"s{server}" / f"0x{pointer:016X}-{self.hour}{suffix}"

    def _append(self, path: Path, lines: list[bytes]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as stream:
            stream.write(b"".join(lines))

    def _lines(self, server: str, count: int, begin: datetime) -> list[bytes]:
        lines = []
        for _ in range(count):
            # No new line of the erased: their messages are suppressed from then on, and counted elsewhere.
            recipient = self.rng.choice(RECIPIENTS)
            while recipient == ERASED and self.is_erased:
                recipient = self.rng.choice(RECIPIENTS)
            delivery, url = self.rng.choice(DELIVERIES), self.rng.choice([1, 1, 5])
            at = begin + timedelta(seconds=self.rng.randrange(3600), milliseconds=self.rng.randrange(1000))
            visitor = next(w for w in ERASED_WORDS if w[0] == "0") if recipient == ERASED else _visitor(recipient)
            fields = [
                *(f"{server}0x{self.pointers[server]:016X}", at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:23]),
                *(f"{_message(delivery, recipient):x}", f"{delivery:x}", f"{url:x}", "0", visitor, "h", "", AGENT),
                f"203.0.113.{recipient % 200}",
            ]
            lines.append("\t".join(fields).encode() + b"\n")
            self.pointers[server] += 1
            self.events += 1
            self.clicks[delivery] += url == 5
        return lines

    def _write_reference(self) -> None:
        people = [one for one in RECIPIENTS if not (one == ERASED and self.is_erased)]
        self._table("deliveries", [{"delivery_id": one, "label": f"Delivery {one}"} for one in DELIVERIES])
        links = [{"delivery_id": one, "url_id": 5, "label": "Shop", "url_type": 1} for one in DELIVERIES]
        self._table("tracked_urls", links)
        self._table(
            "recipients",
            [
                {
                    "recipient_id": one, "first_name": "Erasmus-of-Soak" if one == ERASED else f"Name {one}",
                    "email": "to.be.erased@soak.example" if one == ERASED else f"r{one}@soak.example",
                }
                for one in people
            ],
        )  # fmt: skip
        self._table(
            "messages",
            [
                {
                    "message_id": _message(delivery, one), "delivery_id": delivery, "recipient_id": one,
                    "status": self._statuses[one],
                }
                for delivery in DELIVERIES for one in people
            ],
        )  # fmt: skip

    def _table(self, entity: str, rows: list[dict[str, object]]) -> None:
        path = self.root / "reference" / entity / "extract.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".tmp")
        with draft.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        draft.replace(path)


def _message(delivery: int, recipient: int) -> int:
    return delivery * 10_000_000 + recipient


def _visitor(recipient: int) -> str:
    return f"{recipient:08x}-1111-4111-8111-{recipient:012x}"
