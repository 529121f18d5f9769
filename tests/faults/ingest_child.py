"""An ingest in a process of its own that is killed, or fails, at its n-th step towards disk.

Usage: python -m tests.faults.ingest_child LANDING WAREHOUSE serve. Then, on standard input, one line per trial:
"<n> <warehouse>"; for each a forked child ingests and kills itself at the n-th step; its exit code is printed.
Forking from one process that has imported everything keeps a trial at some tenths of a second.
"""

import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from log_ingest import ingest as ingesting
from log_ingest.ledger_database import PostgresDatabase

STEPS: list[tuple[Any, str]] = [
    (os, "fsync"),
    (Path, "rename"),
    (Path, "unlink"),
    (shutil, "rmtree"),
]
"""What separates the states of a disk that a run can leave: between two of these it only adds to temporary files."""


SOURCES = ("tracking_logs", "deliveries")


class Connection(sqlite3.Connection):
    """Steps before and after each commit of the ledger."""

    at_step: Callable[[], None] = staticmethod(lambda: None)

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:  # type: ignore[override]
        if sql != "commit":
            return super().execute(sql, *arguments)
        self.at_step()
        done = super().execute(sql, *arguments)
        self.at_step()
        return done


def interrupt(at: int, action: Callable[[], None], steps: Iterable[tuple[Any, str]] = STEPS) -> Callable[[], int]:
    """Call action before the at-th step: a call of one of `steps`, or a commit of the ledger.

    Returns how many steps there were so far.
    """
    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        if count == at:
            action()

    def before(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            step()
            return original(*arguments, **keywords)

        return call

    for owner, name in steps:
        setattr(owner, name, before(getattr(owner, name)))
    Connection.at_step = staticmethod(step)
    connect = sqlite3.connect
    sqlite3.connect = lambda *arguments, **keywords: connect(*arguments, factory=Connection, **keywords)  # type: ignore
    execute = PostgresDatabase.execute

    def execute_in_steps(self: PostgresDatabase, statement: str, values: Sequence[object] = ()) -> Any:
        if statement == "commit":
            step()
        done = execute(self, statement, values)
        if statement == "commit":
            step()
        return done

    PostgresDatabase.execute = execute_in_steps  # type: ignore[method-assign]
    return lambda: count


def main() -> None:
    landing = Path(sys.argv[1])
    for trial in sys.stdin:
        at, warehouse = trial.split(" ", 1)
        child = os.fork()
        if child == 0:
            interrupt(int(at), lambda: os.kill(os.getpid(), signal.SIGKILL))
            ingesting.ingest(landing, Path(warehouse.rstrip("\n")), run_id=f"killed-{at}", sources=SOURCES)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
