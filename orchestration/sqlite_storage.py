"""Dagster's storage in SQLite, with connections that stay open.

Belongs here: how the files of DAGSTER_HOME are opened. Does not: what is in them, which is Dagster's, or the choice
between them and PostgreSQL (home). Named by dagster.yaml, so every process of Dagster uses it.

Dagster makes an engine, opens the file and closes it again for every event. Each time SQLAlchemy compiles the
statement anew, and the last close of a file writes its log back and waits for the disk. A run stores more than a
thousand events.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dagster._core.storage.event_log import SqlPollingEventWatcher
from dagster._core.storage.event_log.base import EventHandlerFn
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage, _event_logs_directory
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, StaticPool, create_engine, event

_KEPT = 4
"""Files that stay open in one process: the index, the run that is under way, and what somebody just looked at."""


class KeptOpenEventLog(SqliteEventLogStorage):
    """Dagster's event log, one SQLite file per run and an index, over connections that stay open.

    No commit waits for the disk, which a write-ahead log allows: the file stays whole, and a power cut may take the
    last moments of the log. What the warehouse has acknowledged stands in its ledger, which waits.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._polling: SqlPollingEventWatcher | None = None
        super().__init__(base_dir, inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        # One connection a file is enough: as in Dagster's own class, the lock lets one thread in at a time.
        with self._db_lock, self._engine(shard).begin() as connection:
            yield connection

    def _engine(self, shard: str) -> Engine:
        engine = self._engines.get(shard)
        if engine is None:
            engine = create_engine(
                self.conn_string_for_shard(shard),
                poolclass=StaticPool,
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
            )
            event.listen(engine, "connect", _wait_for_no_disk)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            self._engines[shard] = engine
        self._engines.move_to_end(shard)
        while len(self._engines) > _KEPT:
            self._engines.popitem(last=False)[1].dispose()
        return engine

    def watch(self, run_id: str, cursor: str | None, callback: EventHandlerFn) -> None:
        """Tell callback of a run's events by asking for them: an open file stays as it was, its log grows."""
        self._polling = self._polling or SqlPollingEventWatcher(self)
        self._polling.watch_run(run_id, cursor, callback)

    def end_watch(self, run_id: str, handler: EventHandlerFn) -> None:
        if self._polling:
            self._polling.unwatch_run(run_id, handler)

    def dispose(self) -> None:
        """Close all files."""
        if self._polling:
            self._polling.close()
        with self._db_lock:
            while self._engines:
                self._engines.popitem()[1].dispose()
        super().dispose()


class KeptOpenStorage(DagsterSqliteStorage):
    """Dagster's SQLite storage with KeptOpenEventLog in it. Runs and schedules, written seldom, stay Dagster's."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        self._event_log_storage = KeptOpenEventLog(_event_logs_directory(base_dir))

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Any) -> "KeptOpenStorage":
        """Called by Dagster with what dagster.yaml says."""
        return cls.from_local(inst_data=inst_data, **config_value)


def _wait_for_no_disk(connection: Any, _record: object) -> None:
    connection.execute("pragma synchronous = normal")
