"""The whole way of a privacy request, on a copy of the demo warehouse: exported, erased, published anew.

Numbers and identifiers that are expected are read from what was published before, not from the code that erases.
"""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from log_ingest.ledger import Ledger
from log_ingest.status import collect
from tests.conftest import ROOT, Demo, mtw
from tests.invariants import assert_accounted, landed, query
from tests.ownbytes import places_of

PERSONAL = {
    *("event_key", "message_id", "recipient_id", "recipient_label", "visitor_id", "params", "user_agent_key"),
    *("custom_params", "url", "ingested_at", "person_key"),
}
"""Columns of facts and views that may differ: they tell who, or what only a person's own line said."""


@dataclass(frozen=True)
class Erased:
    """Two recipients before and after; words: what tells them; output: of the command that ended it."""

    recipients: list[int]
    words: set[str]
    before: Demo
    after: Demo
    version_before: str
    output: str
    exported: dict


def _published(demo: Demo) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(str(demo.published), read_only=True)


def _quoted(rows: list[tuple]) -> str:
    return ", ".join(repr(row[0]) for row in rows)


def _words(demo: Demo, recipients: list[int]) -> set[str]:
    """What tells the recipients, by the published facts and the landed rows."""
    chosen = ", ".join(map(str, recipients))
    messages = [
        row[0] for row in demo.query(f"select message_id from core.fct_messages where recipient_id in ({chosen})")
    ]
    words = {str(number) for number in (*recipients, *messages)} | {f"{number:x}" for number in messages}
    words |= {row[0] for row in demo.clear(f"select email from core.dim_recipients where recipient_id in ({chosen})")}
    own = (
        "select visitor_id from core.fct_tracking_events where source <> 'esp_event' and visitor_id is not null"
        f" group by visitor_id having bool_and(recipient_id in ({chosen}))"
    )
    clear = demo.clear(f"select clear_value from pseudonyms where pseudonym in ({_quoted(demo.query(own))})")
    assert len(clear) == len(demo.query(own)) > 0
    words |= {row[0] for row in clear}
    of_messages = f"message_id in ({', '.join(map(str, messages))})"
    words |= {
        row[0]
        for row in query(
            f"select distinct provider_message_id from {landed(demo.warehouse, 'esp_events')} where {of_messages}"
        )
    }
    everywhere = " union all ".join(
        f"select ip, {of_messages} as is_own from {landed(demo.warehouse, source)}"
        for source in ("tracking_logs", "access_logs", "esp_events")
    )
    ips = query(f"select ip from ({everywhere}) where ip <> '' group by ip having bool_and(is_own)")
    return words | {row[0] for row in ips}


@pytest.fixture(scope="module")
def erased(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Erased]:
    folder = tmp_path_factory.mktemp("privacy")
    landing, warehouse = folder / "landing", folder / "warehouse"
    # The same inodes: nothing has to be opened again.
    landing.symlink_to(demo.landing)
    shutil.copytree(demo.warehouse, warehouse, symlinks=True)
    # Whoever is in all three logs and on web pages, and who has subscribed.
    recipients = [
        row[0]
        for order in (
            "count(distinct source) desc, count(attribution) desc",
            "count(*) filter (recipient_id in (select recipient_id from core.fct_subscriptions)) desc",
        )
        for row in demo.query(
            "select recipient_id from core.fct_tracking_events where recipient_id <> 0 group by recipient_id"
            f" order by {order}, recipient_id limit 1"
        )
    ]
    words = _words(demo, recipients)
    assert len(recipients) == len(set(recipients)) == 2 and len(words) > 12
    _plant_in_dagsters_logs(warehouse, words)
    after = Demo(landing, warehouse, "")
    version = Path(os.path.realpath(warehouse / "published/current")).name
    exported = mtw("export", "--recipient", str(recipients[0]), landing=landing, warehouse=warehouse)
    assert exported.returncode == 0, exported.stderr
    _erase_and_kill(landing, warehouse, recipients)
    done = mtw("erase", "--recipient", *map(str, recipients), landing=landing, warehouse=warehouse)
    assert done.returncode == 0, done.stdout + done.stderr
    yield Erased(recipients, words, demo, after, version, done.stdout, json.loads(exported.stdout))


def _plant_in_dagsters_logs(warehouse: Path, words: set[str]) -> None:
    """As a check that failed, or a library that prints what it chokes on, would leave it."""
    said = " ".join(sorted(words))
    log = next((warehouse / "dagster/storage").rglob("*.err"))
    log.write_text(f"{log.read_text()}\nbad row: {said}\n")
    index = warehouse / "dagster/history/runs/index.db"
    with contextlib.closing(sqlite3.connect(index)) as db, db:
        db.execute(
            "update event_logs set event = replace(event, '{', ?) where id = (select max(id) from event_logs)",
            ['{"planted": ' + json.dumps(said) + ", "],
        )
    assert places_of(warehouse / "dagster", words)


def _erase_and_kill(landing: Path, warehouse: Path, recipients: list[int]) -> None:
    """Kill the command once the landed rows are erased and nothing is published yet."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MTW_", "DAGSTER_"))}
    command = [str(Path(sys.executable).with_name("mtw")), "erase", "--recipient", *map(str, recipients)]
    environment |= {"MTW_LANDING_DIR": str(landing), "MTW_WAREHOUSE_DIR": str(warehouse)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            with Ledger(warehouse / "ledger.sqlite", read_only=True) as ledger:
                if ledger.fact("erasure_pending"):
                    break
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def test_nothing_of_them_is_left_in_any_byte(erased: Erased) -> None:
    assert places_of(erased.before.warehouse / "published", set(sorted(erased.words)[:3])), "the search finds them"
    assert places_of(erased.after.warehouse, erased.words) == []
    # Neither what stood for them in the versions before.
    theirs = f"in ({', '.join(map(repr, sorted(erased.words)))})"
    pseudonyms = {row[0] for row in erased.before.clear(f"select pseudonym from pseudonyms where clear_value {theirs}")}
    some = set(sorted(pseudonyms)[:10])
    assert places_of(erased.before.published.parent, some)
    assert places_of(erased.after.warehouse / "published", some) == []


def test_older_versions_are_gone(erased: Erased) -> None:
    versions = [path.name for path in (erased.after.warehouse / "published/versions").iterdir()]
    assert len(versions) == 1 and versions[0] > erased.version_before


def test_no_number_has_changed(erased: Erased) -> None:
    """Every table of reports, both ways; of facts and views of persons, all but what tells who."""
    with duckdb.connect() as con:
        con.execute(f"attach '{erased.before.published}' as old (read_only)")
        con.execute(f"attach '{erased.after.published}' as new (read_only)")
        tables = con.execute(
            "select schema_name, table_name, list(column_name) from duckdb_columns()"
            " where database_name = 'new' and schema_name in ('core', 'reports')"
            " and (schema_name = 'reports' or table_name like 'fct_%' or table_name like 'agg_%') group by all"
        ).fetchall()
        wholes: list[bool] = []
        for schema, name, columns in tables:
            whole = schema == "reports" and not {"recipient_id", "message_id"} & set(columns)
            wholes.append(whole)
            if name in ("profile_tracking", "fct_esp_events", "fct_subscriptions"):
                continue
            selected = ", ".join(column for column in columns if whole or column not in PERSONAL)
            for left, right in (("old", "new"), ("new", "old")):
                rows = f"(select {selected} from {left}.{schema}.{name} except all select {selected} from"
                assert con.execute(f"select * from {rows} {right}.{schema}.{name}) limit 3").fetchall() == [], name
    assert sum(wholes) > 20, "most reports name nobody"
    assert erased.after.query("select count(*) from meta.restatements") == [(0,)]


def test_they_are_nobody(erased: Erased) -> None:
    """What stands for them is marked, has no profile, and is as many as they were."""
    query = erased.after.query
    count = (
        "select count(*), count(distinct message_id), count(distinct visitor_id) from core.fct_tracking_events where"
    )
    before = erased.before.query(f"{count} recipient_id in {tuple(erased.recipients)}")
    nobody = "recipient_id in (select recipient_id from core.dim_recipients where is_erased)"
    assert query(f"{count} {nobody}") == before and before[0][0] > 10
    assert query(f"select count(*) from reports.profile_tracking where {nobody}") == [(0,)]
    assert query(
        "select distinct recipient_label, email, first_name, time_zone, created_at from core.dim_recipients"
        " where is_erased"
    ) == [("erased recipient", None, None, None, None)]


def test_what_is_left_adds_up(erased: Erased) -> None:
    assert_accounted(erased.after.warehouse)
    assert collect(erased.after.warehouse).sources == collect(erased.before.warehouse).sources


def test_the_receipt_names_nobody(erased: Erased) -> None:
    with Ledger(erased.after.warehouse / "ledger.sqlite", read_only=True) as ledger:
        (receipt,) = ledger.erasures()
        assert ledger.fact("erasure_pending") == ""
    assert receipt.recipient_count == 2 and receipt.counts["recipients"] == 2
    assert not any(word in repr(receipt) for word in erased.words)
    # The command that was killed had committed it: the next one only ended it.
    assert "erased before" in erased.output
    assert "access_logs" in receipt.counts


def test_what_was_held_was_exported(erased: Erased) -> None:
    found = erased.exported
    events = sum(len(rows) for source, rows in found["events"].items() if source != "esp_events")
    recipient = erased.recipients[0]
    before = erased.before.query(
        f"select count(*) from core.fct_tracking_events where recipient_id = {recipient} and source <> 'esp_event'"
    )
    assert [(events,)] == before
    assert len(found["published"]["core.fct_tracking_events"]) >= events
    (profile,) = found["published"]["core.dim_recipients"]
    assert profile["email"] in found["identifiers"]["addresses"]
    assert {row["provenance"]["source_file"].split("/")[0] for row in found["events"]["access_logs"]} == {"access_logs"}


def test_wrong_usage_is_told_in_one_line(erased: Erased) -> None:
    places = {"landing": erased.after.landing, "warehouse": erased.after.warehouse}
    nobody = mtw("erase", "--recipient", "0", **places)
    assert (nobody.returncode, len(nobody.stderr.splitlines())) == (2, 1)
    unknown = mtw("erase", "--recipient", "987654321", **places)
    assert unknown.returncode == 1 and "nothing is held of recipient 987654321" in unknown.stderr
    assert mtw("erase", **places).returncode == 2
    gone = json.loads(mtw("export", "--recipient", str(erased.recipients[0]), **places).stdout)
    assert gone["was_erased"] and gone["published"] == {} and not any(gone["events"].values())
