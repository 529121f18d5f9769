"""Requests of the people behind the rows: everything held of a recipient, and erasing recipients.

Belongs here: putting together what log_ingest finds in landed rows with what lies above them (published versions,
Dagster's storage, the working database). Does not: identifiers and landed rows (log_ingest.subject, .erasure), or the
run that builds and publishes anew (pipeline).

An erasure is complete when the next version is published: `log_ingest.erasure.PENDING` in the ledger says that one is
not, and any run of the pipeline, also the schedule's, brings it to its end.
"""

import contextlib
import csv
import shutil
import sqlite3
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa

from log_ingest.erasure import PENDING, ErasureReport, MachineSigns
from log_ingest.erasure import erase as erase_landed
from log_ingest.errors import IngestError
from log_ingest.ledger import Ledger, exists
from log_ingest.sqltext import literal
from log_ingest.subject import Identifiers
from log_ingest.subject_export import export as export_landed
from log_ingest.subject_export import plain
from orchestration import ids, publish
from orchestration.engine import discard_tables
from orchestration.home import driverless
from orchestration.identifiers import beside, cleared, of_published
from orchestration.lock import PipelineLock, PipelineLocked
from orchestration.publication import current
from orchestration.scrub import Scrubber
from orchestration.settings import Settings

VERIFY_FOLDER, VERIFY_LOCK = "verify", "verify.lock"
"""Of orchestration.verify, below the warehouse."""

MARTS = "marts"
"""How DuckDB names the published file, after its own name."""

_BY_RECIPIENT, _BY_MESSAGE = "recipient_id", "message_id"


def unsigned(recipient: int) -> int:
    """An id as the warehouse stores it: negative 32-bit ids as their unsigned value. Raises ValueError."""
    if not -(2**31) <= recipient < 2**63 or recipient == 0:
        raise ValueError(f"{recipient} is no recipient's id; 0 stands for all who are unknown")
    return ids.unsigned(recipient)


def erase(settings: Settings, recipients: Collection[int], *, is_dry: bool = False) -> ErasureReport:
    """Erase recipients from all that the warehouse keeps but the published versions, which the next run replaces.

    Takes the lock. Raises IngestError, PipelineLocked, PublishError; before anything was changed, after some log texts
    were cleaned, or, as the message then says, when all is recorded and the next run has to finish it.
    """
    # In the order in which a verification takes them: what it has built beside would outlive the erasure.
    with PipelineLock(settings.warehouse_dir / VERIFY_LOCK), PipelineLock.of(settings):
        report = erase_landed(
            settings.warehouse_dir,
            recipients,
            run_id=str(uuid.uuid4()),
            landed_dir=settings.landed_dir,
            ledger_at=settings.ledger_url,
            resolved=_resolved(settings, recipients),
            words=_machine_signs(settings.dbt_project_dir / "seeds"),
            is_dry=is_dry,
            before_commit=lambda found: _clean_logs(settings, found),
        )
    with PipelineLock.of(settings):
        if not is_dry and is_pending(settings):
            discard_work(settings)
    return report


def export(settings: Settings, recipient: int) -> dict[str, Any]:
    """Everything held of a recipient, as values of JSON: see log_ingest.subject_export; `published` holds the rows of
    each published table that name the recipient or one of their messages, by schema.table, in clear where the
    identities file has what is masked.

    Takes the lock. Raises IngestError, PipelineLocked, PublishError.
    """
    with PipelineLock.of(settings):
        found = export_landed(
            settings.warehouse_dir, recipient, landed_dir=settings.landed_dir, ledger_at=settings.ledger_url
        )
        found["published"] = _published_rows(settings, recipient, found["identifiers"]["message_ids"])
        return found


def _published_rows(settings: Settings, recipient: int, messages: list[int]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    with _published(settings) as connection:
        if connection is None:
            return {}
        masked = of_published(connection, MARTS)
        clear = beside(settings.published_database.resolve())
        if masked and clear:
            connection.execute(f"attach {literal(str(clear))} as identities (read_only)")
        tables = connection.execute(
            "select schema_name, table_name, list(column_name order by column_index) from duckdb_columns()"
            " where database_name = 'marts' and schema_name in ('core', 'reports') group by all order by all"
        ).fetchall()
        for schema, name, columns in tables:
            conditions = [f"{_BY_RECIPIENT} = $recipient"] * (_BY_RECIPIENT in columns)
            conditions += [f"{_BY_MESSAGE} in (select unnest($messages::bigint[]))"] * (_BY_MESSAGE in columns)
            if not conditions:
                continue
            values: dict[str, Any] = {"recipient": recipient} if _BY_RECIPIENT in columns else {}
            table = cleared((schema, name), masked if clear else (), MARTS, "identities")
            rows = connection.execute(
                f"select * from ({table}) where {' or '.join(conditions)}",  # noqa: S608 (quoted)
                values | ({"messages": messages} if _BY_MESSAGE in columns else {}),
            ).fetchall()
            if rows:
                found[f"{schema}.{name}"] = [dict(zip(columns, map(plain, row), strict=True)) for row in rows]
    return found


def is_pending(settings: Settings) -> bool:
    """Whether something above the landed rows may still hold what was erased from them."""
    if not exists(settings.ledger):
        return False
    with Ledger(settings.ledger, read_only=True) as ledger:
        return bool(ledger.fact(PENDING))


def discard_work(settings: Settings) -> None:
    """Remove the working database, dbt's artifacts and what was built beside them: DuckDB keeps deleted texts in its
    file, so all is made anew.
    """
    work = settings.warehouse_dir / "work"
    for path in work.iterdir() if work.is_dir() else ():
        if path == settings.dbt_dir:
            path = path / "run"  # the parsed project holds no data
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    # Ledgers of before an upgrade name files that the erasure has replaced: there is no going back over it.
    for path in settings.warehouse_dir.glob(f"{settings.ledger_path.name}.format-*"):
        path.unlink(missing_ok=True)
    discard_tables(settings)
    # A verification that is at work takes its folder away itself.
    with contextlib.suppress(PipelineLocked), PipelineLock(settings.warehouse_dir / VERIFY_LOCK):
        shutil.rmtree(settings.warehouse_dir / VERIFY_FOLDER, ignore_errors=True)


def finish(settings: Settings) -> None:
    """Called when a version that was built from the erased rows is the current one: no other may be left.

    Raises PublishError where an older version cannot be removed.
    """
    publication = current(settings.published_dir)
    assert publication is not None
    publish.remove_other_versions(settings.published_dir, publication)
    with Ledger(settings.ledger) as ledger:
        ledger.set_fact(PENDING, "")


def _clean_logs(settings: Settings, found: Identifiers) -> None:
    try:
        Scrubber(found).clean_folder(settings.dagster_home)
    except (OSError, sqlite3.Error) as error:
        raise IngestError(
            f"{settings.dagster_home} could not be rid of identifiers ({error}); stop mtw serve, then erase again"
        ) from error
    if settings.dagster_storage_url:
        try:
            Scrubber(found).clean_postgresql(driverless(settings.dagster_storage_url))
        except psycopg.Error as error:
            reason = " ".join(str(error).split())
            raise IngestError(
                f"Dagster's PostgreSQL database could not be rid of identifiers ({reason}); check"
                " MTW_DAGSTER_STORAGE_URL, then erase again"
            ) from error


def _machine_signs(seeds: Path) -> MachineSigns:
    """What the machine rules of the project look for in lines."""
    rules, bots, networks = (
        _seed(seeds / f"{name}.csv") for name in ("machine_rules", "known_bots", "machine_networks")
    )
    return MachineSigns(
        exact=frozenset(row["pattern"] for row in rules if row["kind"] == "user_agent_exact"),
        parts=tuple(row["pattern"] for row in rules if row["kind"] == "user_agent_contains"),
        lower_parts=tuple(row["pattern"] for row in bots),
        networks=tuple((row["network"], row["first_address"], row["last_address"]) for row in networks),
    )


def _seed(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@contextlib.contextmanager
def _published(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection | None]:
    if current(settings.published_dir) is None:
        yield None
        return
    connection = duckdb.connect(str(settings.published_database.resolve()), read_only=True)
    try:
        yield connection
    finally:
        connection.close()


def _resolved(settings: Settings, recipients: Collection[int]) -> pa.Table | None:
    """Message and link of these recipients' webhook events, as the published version has found them."""
    with _published(settings) as connection:
        if connection is None or not _has(connection, "core", "fct_esp_events"):
            return None
        rows = connection.execute(
            "select events.event_key, events.message_id, urls.source_url as url from core.fct_esp_events as events"
            " left join core.dim_tracked_urls as urls using (delivery_id, url_id)"
            " where recipient_id in (select unnest(?::bigint[]))",
            [sorted(recipients)],
        ).fetchall()
    kinds = {"event_key": pa.string(), "message_id": pa.int64(), "url": pa.string()}
    return pa.table({name: pa.array([row[at] for row in rows], kind) for at, (name, kind) in enumerate(kinds.items())})


def _has(connection: duckdb.DuckDBPyConnection, schema: str, name: str) -> bool:
    found = connection.execute(
        "select count(*) from duckdb_tables() where schema_name = ? and table_name = ?", [schema, name]
    ).fetchall()
    return bool(found[0][0])
