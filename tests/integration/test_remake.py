"""Backfills on the shipped models: a damaged cache gives the same marts again for what was asked for, and no other.

The damage is what a build never makes: events gone, changed and made up, messages and marts changed.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import pytest

from log_ingest.ledger import Ledger
from log_ingest.sample import write_sample
from orchestration import build_state, row_changes
from orchestration.remake import RemakeError, ask
from orchestration.scope import RunScope
from orchestration.settings import Settings
from tests.marts import PROVENANCE, build_marts
from tests.published import assert_same_version, publish_marts

TOUCHED = (
    *("intermediate.int_tracking_events__judged", "intermediate.int_web_hits__attributed"),
    *("intermediate.int_esp_events__resolved", "intermediate.int_messages__current"),
    *("reports.rpt_tracking_indicators", "reports.rpt_user_activity", "core.agg_tracking_5min"),
)


@dataclass(frozen=True)
class Built:
    settings: Settings
    rows: dict[str, set[tuple]]
    """By table, what a clean build gives."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    root = tmp_path_factory.mktemp("remake")
    write_sample(root / "landing", events=1_000, seed=7)
    settings = Settings(root / "landing", root / "warehouse")
    build_marts(settings.landing_dir, settings.warehouse_dir)
    with Ledger(settings.ledger_path, read_only=True) as ledger:
        batch_id = ledger.last_batch_id()
    record(settings, batch_id)
    return Built(settings, tables(settings))


def record(settings: Settings, batch_id: int) -> None:
    digests = build_state.build_digest(settings), build_state.hidden_digest(settings)
    build_state.record_build(settings, build_state.Build(*digests, batch_id, "test"))


@contextmanager
def working(settings: Settings, *, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    with closing(duckdb.connect(str(settings.working_database), read_only=read_only)) as connection:
        yield connection


def tables(settings: Settings, only: str = "") -> dict[str, set[tuple]]:
    """Rows of the marts and of the tables below, but for what tells of builds; of one delivery where named."""
    found = {}
    with working(settings, read_only=True) as connection:
        names = connection.execute(
            "select schema_name, table_name from duckdb_tables()"
            " where schema_name in ('core', 'reports', 'intermediate')"
        ).fetchall()
        for schema, name in names:
            columns = [row[0] for row in connection.execute(f"describe {schema}.{name}").fetchall()]
            kept = [column for column in columns if column not in PROVENANCE | {"changed_in_run"}]
            where = f" where {only}" if only and "delivery_id" in columns else ""
            rows = connection.execute(f"select {', '.join(kept)} from {schema}.{name}{where}").fetchall()
            found[f"{schema}.{name}"] = {tuple(map(repr, row)) for row in rows}
    return found


def busiest(settings: Settings, count: int) -> list[int]:
    with working(settings, read_only=True) as connection:
        rows = connection.execute(
            "select delivery_id from core.fct_tracking_events where delivery_id <> 0 group by 1"
            " having count(*) filter (where source = 'esp_event') > 0 order by count(*) desc limit $1",
            [count],
        ).fetchall()
    return [number for (number,) in rows]


def damage(settings: Settings, delivery: int) -> None:
    judged = "intermediate.int_tracking_events__judged"
    with working(settings) as connection:
        for statement in (
            f"delete from {judged} where delivery_id = $1 and hash(event_key) % 3 = 0",
            f"update {judged} set is_machine = not is_machine, url_type = 3 where delivery_id = $1"
            " and hash(event_key) % 3 = 1",
            # Of each row, so that every kind of row is among them.
            f"insert into {judged} by name select * replace ('made up ' || event_key as event_key) from {judged}"
            " where delivery_id = $1",
            "update intermediate.int_messages__current set status = 2, recipient_id = 1 where delivery_id = $1",
            "update intermediate.int_esp_events__resolved set message_id = 0, url_id = 9 where delivery_id = $1",
            "insert into intermediate.int_esp_events__resolved by name select * replace"
            " ('made up ' || event_key as event_key) from intermediate.int_esp_events__resolved where delivery_id = $1",
            "delete from intermediate.int_web_hits__attributed where delivery_id = $1 and hash(event_key) % 2 = 0",
            "update reports.rpt_tracking_indicators set total_click_count = 4711 where delivery_id = $1",
            "update reports.rpt_user_activity set open_count = open_count + 1 where delivery_id = $1",
            "delete from core.agg_tracking_5min where delivery_id = $1",
        ):
            connection.execute(statement, [delivery])


def test_what_was_damaged_is_as_before_and_what_was_not_asked_for_stays(built, tmp_path, monkeypatch):
    settings = built.settings
    monkeypatch.setattr(row_changes, "MOST", 2)
    asked, other = busiest(settings, 2)
    damage(settings, asked)
    with working(settings) as connection:
        connection.execute("update reports.rpt_user_activity set open_count = -1 where delivery_id = $1", [other])
    publish_marts(settings.warehouse_dir, tmp_path / "published")
    before = tables(settings)
    assert sum(before[name] != built.rows[name] for name in TOUCHED) >= 6

    assert ask(settings, RunScope.of([asked])) == [asked]
    assert build_state.plan(settings, 0).reasons[0] == "the last build did not finish", (
        "a run that dies here is made up for"
    )
    build_marts(settings.landing_dir, settings.warehouse_dir)
    with Ledger(settings.ledger_path, read_only=True) as ledger:
        record(settings, ledger.last_batch_id())

    # Rows that go are taken out of what is published, too.
    assert publish_marts(settings.warehouse_dir, tmp_path / "published").added == 1
    publish_marts(settings.warehouse_dir, tmp_path / "whole", is_whole=True)
    assert_same_version(tmp_path / "published", tmp_path / "whole")

    after = tables(settings)
    assert {name for name in after if after[name] != built.rows[name]} == {"reports.rpt_user_activity"}
    kept = tables(settings, f"delivery_id = {other}")["reports.rpt_user_activity"]
    assert after["reports.rpt_user_activity"] ^ built.rows["reports.rpt_user_activity"] >= kept
    assert all("-1" in row for row in kept)

    # By the days of that delivery; and asking twice before a run is asking once.
    with working(settings, read_only=True) as connection:
        first, last = connection.execute(
            "select cast(min(occurred_at) as date), cast(max(occurred_at) as date) from core.fct_tracking_events"
            " where delivery_id = $1",
            [other],
        ).fetchall()[0]
    scope = RunScope.of((), first.isoformat(), last.isoformat())
    asked_for = ask(settings, scope)
    assert other in asked_for and 0 not in asked_for
    assert ask(settings, scope) == asked_for
    build_marts(settings.landing_dir, settings.warehouse_dir)
    again = tables(settings)
    assert {name for name in again if again[name] != built.rows[name]} == set()


def test_what_nobody_knows_is_refused_before_anything_is_noted(built):
    batch_id = build_state.last_build(built.settings).batch_id
    with pytest.raises(RemakeError, match="no such delivery: 4, 5; the table"):
        ask(built.settings, RunScope.of([5, 4]))
    with pytest.raises(RemakeError, match="no delivery was sent or had an event from 1999-01-01 to 1999-01-02"):
        ask(built.settings, RunScope((), (date(1999, 1, 1), date(1999, 1, 2))))
    assert build_state.last_build(built.settings).batch_id == batch_id
    with working(built.settings, read_only=True) as connection:
        rows = connection.execute("select * from state.touched_deliveries where delivery_id in (4, 5)").fetchall()
    assert rows == []


def test_where_all_is_built_anyway_nothing_is_noted(tmp_path: Path):
    assert ask(Settings(tmp_path / "l", tmp_path / "w"), RunScope.of([7])) == []
