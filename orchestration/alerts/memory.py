"""What has been told: a file in the warehouse folder, so that the daemon and the command line tell nothing twice.

Belongs here: reading and writing it under a lock. Does not: deciding. It holds no text of an alert: those may quote
what an erasure is to remove.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from orchestration.lock import PipelineLock, PipelineLocked

FILE = "alerts.json"
LOCK = "alerts.lock"

_PATIENCE_SECONDS = 60


@dataclass
class Told:
    """One alert that is open. digest: of what it says; another one is news. at: by channel, when it was told (UTC); ""
    where it was told of the problem, but not yet of what it says now."""

    kind: str
    since: str
    digest: str
    at: dict[str, str] = field(default_factory=dict)

    @property
    def since_at(self) -> datetime:
        return datetime.fromisoformat(self.since)


@contextlib.contextmanager
def remembered(warehouse_dir: Path) -> Iterator[dict[str, Told]]:
    """The open alerts by key, to change; written back when the block ends, whichever way.

    Raises PipelineLocked where another process keeps it for long, OSError where it cannot be written. A file that
    cannot be read counts as empty: at worst something is told twice.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(PipelineLock(warehouse_dir / LOCK))
            except PipelineLocked:
                if time.monotonic() > deadline:
                    raise
                continue
            path = warehouse_dir / FILE
            found = open_alerts(warehouse_dir)
            before = json.dumps({key: asdict(told) for key, told in found.items()})
            try:
                yield found
            finally:
                after = json.dumps({key: asdict(told) for key, told in found.items()}, indent=1)
                if json.dumps(json.loads(after)) != before:
                    draft = path.with_suffix(".tmp")
                    draft.write_text(after, encoding="utf-8")
                    draft.replace(path)
            return


def open_alerts(warehouse_dir: Path) -> dict[str, Told]:
    """The open alerts by key, to look at."""
    try:
        text = (warehouse_dir / FILE).read_text(encoding="utf-8")
        return {key: Told(**told) for key, told in json.loads(text).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
