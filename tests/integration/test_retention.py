"""Retention: a purge takes the events of old deliveries away, and no number of any report changes with it.

The sample has every source and report: what is compared is all of it. Small stories beside it hold what it has not.
"""

import re
import shutil
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from log_ingest.ingest import ingest
from log_ingest.ledger import Ledger
from log_ingest.sample import write_sample
from log_ingest.status import collect
from orchestration import build_state, jobs, privacy, retention
from orchestration.dbt import load_manifest
from orchestration.explain import NotThere, explained
from orchestration.explain_output import disagreements
from orchestration.identifiers import load_key
from orchestration.model_sql import masks_of, meta_tables, prepare_sql
from orchestration.publish import current, publish
from orchestration.settings import Settings
from orchestration.verify import verify
from tests.campaign import write_csv
from tests.conftest import mtw
from tests.invariants import assert_accounted
from tests.loglines import line, logs
from tests.marts import build_marts

NOW = datetime(2024, 5, 24)
KEPT_DAYS = 10
"""Of the sample's deliveries, some expired more than ten days before, others not yet."""

ONLY_WHAT_IS_KEPT = {"profile_tracking", "delivery_tracking", "rpt_suspect_opt_outs"}
"""Lists of events. Everything else in `reports` is a number that stays."""


@dataclass(frozen=True)
class House:
    """A warehouse without Dagster: what a run does, step by step."""

    landing: Path
    settings: Settings

    @classmethod
    def at(cls, folder: Path) -> "House":
        places = {"MTW_LANDING_DIR": str(folder / "landing"), "MTW_WAREHOUSE_DIR": str(folder / "warehouse")}
        settings = Settings.load(places | {"MTW_KEEP_TRACKING_DAYS": str(KEPT_DAYS)}, dotenv=Path("/nowhere"))
        return cls(folder / "landing", settings)

    @property
    def warehouse(self) -> Path:
        return self.settings.warehouse_dir

    def run(self, *, tests: bool = False) -> None:
        build_marts(self.landing, self.warehouse, tests=tests)
        with Ledger(self.settings.ledger_path, read_only=True) as ledger:
            batch_id = ledger.last_batch_id()
        manifest = self.warehouse / "dbt-target" / "manifest.json"
        project = prepare_sql(self.settings, manifest)
        publish(
            self.settings.working_database,
            self.settings.published_dir,
            run_id=f"run-{batch_id}",
            batch_id=batch_id,
            build_digest=build_state.build_digest(self.settings),
            extra=meta_tables(project),
            masked=masks_of(load_manifest(manifest), project)[0],
            key=load_key(self.warehouse),
        )
        if privacy.is_pending(self.settings):
            privacy.finish(self.settings)

    def purge(self, **more: object) -> retention.Purge:
        return retention.purge(self.settings, now=NOW, **more)  # type: ignore[arg-type]

    def query(self, sql: str) -> list[tuple]:
        with closing(duckdb.connect(str(self.settings.published_database.resolve()), read_only=True)) as con:
            return con.execute(sql).fetchall()

    def reports(self) -> dict[str, list[tuple]]:
        """Every row of every report but lists of events, and of the aggregates in core that name nobody."""
        names = self.query(
            "select schema_name, table_name from duckdb_tables() where schema_name = 'reports'"
            " or table_name in ('agg_tracking_5min', 'agg_message_activity', 'agg_shared_opens', 'agg_web_hits')"
        )
        return {
            name: self.query(f"select * from {schema}.{name} order by all")
            for schema, name in names
            if name not in ONLY_WHAT_IS_KEPT
        }

    def copy(self, folder: Path) -> "House":
        shutil.copytree(self.landing, folder / "landing")
        shutil.copytree(self.warehouse, folder / "warehouse", symlinks=True)
        return House.at(folder)


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> House:
    """The sample, published, nothing purged."""
    house = House.at(tmp_path_factory.mktemp("retention"))
    house.landing.mkdir()
    write_sample(house.landing, events=4_000, seed=20240501)
    house.run()
    return house


@pytest.fixture(scope="module")
def after(before: House, tmp_path_factory: pytest.TempPathFactory) -> House:
    """The same, purged and published again."""
    house = before.copy(tmp_path_factory.mktemp("purged"))
    house.purge()
    house.run(tests=True)
    return house


def test_no_number_changes(before: House, after: House) -> None:
    old, new = before.reports(), after.reports()
    assert old.keys() == new.keys() and len(old) > 25
    for name, rows in old.items():
        missing = [row for row in rows if row not in set(new[name])][:3]
        extra = [row for row in new[name] if row not in set(rows)][:3]
        assert new[name] == rows, (name, missing, extra)


def purged_ids(house: House) -> str:
    found = house.query("select delivery_id from meta.purges")
    assert len(found) >= 3
    return ", ".join(str(number) for (number,) in found)


def test_what_is_shown_and_known_of_purged_deliveries(before: House, after: House) -> None:
    ids = purged_ids(after)
    expired = (
        f"select delivery_id from core.dim_deliveries where coalesce(validity_end_at, sent_at) < timestamp '{NOW}'"
    )
    # By the setting, in other words than the purge's: all that expired, and have events.
    due = before.query(
        f"{expired} - interval {KEPT_DAYS} day and delivery_id in (select delivery_id from core.fct_tracking_events)"
        f" intersect {expired}"
    )
    assert set(due) <= set(after.query("select delivery_id from meta.purges"))
    kept = f"delivery_id not in ({ids})"
    for name in ("core.fct_tracking_events", "core.fct_web_visits", "reports.profile_tracking"):
        columns = "delivery_id, event_key" if "visits" not in name else "delivery_id, event_key, attribution"
        rows = before.query(f"select {columns} from {name} where {kept} order by all")
        assert rows and after.query(f"select {columns} from {name} order by all") == rows, name
    # Of the provider's events only acts are tracking; what became of messages stays.
    kinds = "select event_kind, count(*) from core.fct_esp_events where {} group by all order by all"
    assert after.query(kinds.format(f"delivery_id in ({ids})")) == before.query(
        kinds.format(f"delivery_id in ({ids}) and event_kind not in ('open', 'click', 'unsubscribe')")
    )
    counted = before.query(
        "select delivery_id, count(*), min(occurred_at), max(occurred_at) from (select delivery_id, event_key,"
        " occurred_at from core.fct_tracking_events union select delivery_id, event_key, occurred_at from"
        " core.fct_esp_events where event_kind in ('open', 'click', 'unsubscribe'))"
        f" where delivery_id in ({ids}) group by all order by all"
    )
    assert counted == after.query(
        "select delivery_id, event_count, first_event_at, last_event_at from meta.purges order by all"
    )
    assert after.query("select distinct kind, kept_days from meta.purges") == [("tracking", KEPT_DAYS)]
    # Deliveries stay known, also those that only their events named.
    assert before.query("select * from core.dim_deliveries order by all") == after.query(
        "select * from core.dim_deliveries order by all"
    )
    # A purge restates nothing.
    assert after.query("select count(*) from meta.restatements") == [(0,)]


def test_persons_of_purged_deliveries_are_digests(before: House, after: House) -> None:
    ids = purged_ids(after)
    for name in ("agg_person_clicks", "agg_software_users", "agg_page_visits"):
        query = (
            "select count(*), count(distinct person_key), count(*) filter (where person_key like 'purged-%')"
            f" from core.{name}"
        )
        rows, persons, digests = after.query(f"{query} where delivery_id in ({ids}) and person_key <> ''")[0]
        assert digests == rows > 0
        assert (rows, persons, 0) == before.query(f"{query} where delivery_id in ({ids}) and person_key <> ''")[0], name
        assert after.query(f"{query} where delivery_id not in ({ids})")[0][2] == 0
    # Somebody clicked on both sides of the line: the digests are what keeps them one person.
    both = before.query(
        f"select count(*) from (select person_key from core.agg_person_clicks where delivery_id in ({ids})"
        f" intersect select person_key from core.agg_person_clicks where delivery_id not in ({ids}))"
    )
    assert both[0][0] > 0


def test_the_ledger_balances(before: House, after: House) -> None:
    old = {source.source: source for source in collect(before.warehouse).sources}
    purged = 0
    for source in collect(after.warehouse).sources:
        was = old[source.source]
        assert (source.lines, source.accepted + source.purged) == (was.lines, was.accepted)
        parts = source.accepted + source.duplicate + source.quarantined + source.blank + source.not_tracking
        assert parts + source.suppressed + source.purged == source.lines
        purged += source.purged
    assert purged > 0
    assert after.query("select sum(purged_count) from meta.ingest_files") == [(purged,)]
    assert after.query(
        "select count(*) from meta.ingest_sources where line_count <> accepted_count + duplicate_count"
        " + quarantined_count + blank_count + not_tracking_count + suppressed_count + purged_count"
    ) == [(0,)]
    assert_accounted(after.warehouse)
    # One version is left: the others hold what was purged.
    assert [path.name for path in (after.settings.published_dir / "versions").iterdir()] == [
        current(after.settings.published_dir).label  # type: ignore[union-attr]
    ]


def test_late_lines_change_kept_deliveries_alone_and_a_rebuild_agrees(
    after: House, tmp_path_factory: pytest.TempPathFactory
) -> None:
    house = after.copy(tmp_path_factory.mktemp("late"))
    purged = after.query(
        "select delivery_id from meta.purges join core.fct_messages using (delivery_id) order by 1 limit 1"
    )[0][0]
    message, kept, other = after.query(
        f"select (select min(message_id) from core.fct_messages where delivery_id = {purged}), delivery_id,"
        " min(message_id) from core.fct_tracking_events where url_type = 1 and message_id <> 0"
        f" and delivery_id not in ({purged_ids(after)}) group by delivery_id order by count(*) desc limit 1"
    )[0]
    at = "2024-05-20T10:00:00.000"
    someone = "00000000-0000-4000-8000-00000000abcd"
    logs(
        house.landing,
        "late/0x1.log",
        line(0x1, server="z", at=at, message=message, delivery=purged, visitor=someone),
        line(0x2, server="z", at=at, message=message, delivery=0, visitor=someone),
        line(0x3, server="z", at=at, message=other, delivery=kept, visitor=someone),
    )
    # What is known of it changes too: its reports do not.
    write_csv(house.landing, "deliveries", [{"delivery_id": purged, "label": "Renamed", "sent_at": at}], "late.csv")
    house.run()
    assert collect(house.warehouse).late_lines == 2
    label = f"select delivery_label from core.dim_deliveries where delivery_id = {purged}"
    assert house.query(label) == [("Renamed",)] != after.query(label)
    old, new = after.reports(), house.reports()
    assert old.keys() == new.keys()
    changed = {name for name in old if old[name] != new[name]}
    assert "rpt_tracking_indicators" in changed and "rpt_tracking_rollups" in changed
    rows = f"select * from reports.rpt_tracking_indicators where delivery_id {{}} {kept} order by all"
    assert house.query(rows.format("<>")) == after.query(rows.format("<>"))
    opens = f"select total_open_count from reports.rpt_tracking_indicators where delivery_id = {kept}"
    assert house.query(opens)[0][0] == after.query(opens)[0][0] + 1
    _, pseudonym = load_key(house.warehouse).mark("person", someone)
    assert house.query(f"select count(*) from core.fct_tracking_events where visitor_id = '{pseudonym}'") == [(1,)]
    # Nothing is due any more.
    assert house.purge().report.purge is None
    # Built anew from landed and frozen rows, all marts are the same.
    verified = verify(house.settings)
    assert {result.name for result in verified.differing} == set()
    assert len(verified.results) > 60


def test_an_explanation_says_that_lines_were_purged(after: House) -> None:
    delivery = after.query(
        "select delivery_id from meta.purges join reports.rpt_tracking_indicators using (delivery_id)"
        " where total_open_count > 0 order by 1 limit 1"
    )[0][0]
    database, landed = after.settings.published_database, after.settings.landed_dir
    keys = {"delivery_id": str(delivery)}
    with explained(database, landed, "rpt_tracking_indicators.total_open_count", keys, 5) as found:
        part = found.parts[0]
        assert (part.value > 0, part.recount, part.line_count) == (True, 0, 0)  # type: ignore[operator]
        assert re.search(r"purged on \d{4}-\d\d-\d\d", part.purged)
        assert list(disagreements(found)) == []
    with explained(database, landed, "rpt_tracking_rollups.total_open_count", {"rollup": "all"}, 5) as found:
        assert "purged" in found.parts[0].purged and list(disagreements(found)) == []
    with (
        pytest.raises(NotThere, match=r"purged on .*delivery_tracking has no row"),
        explained(database, landed, "delivery_tracking", keys, 5),
    ):
        pass


def test_the_command(before: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What mtw purge prints and how it ends; its run is that of any command."""
    settings = {"MTW_KEEP_TRACKING_DAYS": str(KEPT_DAYS)}
    places = {"landing": before.landing, "warehouse": before.warehouse}
    done = mtw("purge", "--dry-run", settings=settings, **places)
    assert done.returncode == 0, done.stderr
    # All of the sample expired long ago, by the clock.
    count, newest = before.query("select count(distinct delivery_id), max(occurred_at) from core.fct_tracking_events"
                                 " where delivery_id <> 0")[0]  # fmt: skip
    assert re.search(rf"tracking\s+{count}\s+[\d,]+\s+[\d,]+\s+2024\S+ \S+\s+{newest:%Y-%m-%d}", done.stdout), (
        done.stdout
    )
    assert collect(before.warehouse).purges == []
    unset = mtw("purge", **places)
    assert unset.returncode == 0 and "MTW_KEEP_TRACKING_DAYS is not set" in unset.stdout
    wrong = mtw("purge", settings={"MTW_KEEP_TRACKING_DAYS": "a year"}, **places)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1) and "whole number of days" in wrong.stderr


def test_nothing_is_purged_that_is_not_published(before: House, tmp_path: Path) -> None:
    house = before.copy(tmp_path)
    logs(house.landing, "late/0x1.log", line(0x1, server="z"))
    ingest(house.landing, house.warehouse, run_id="more")
    with pytest.raises(retention.NotPublishedError, match="mtw run"):
        house.purge()
    assert collect(house.warehouse).purges == []


def test_deliveries_that_share_a_message_go_together(tmp_path: Path) -> None:
    """By hand: 1 and 2 expired and share a message; 3 expired and shares one with 4, which has not; 5 expired."""
    house = House.at(tmp_path)
    path = house.settings.published_dir / "marts.duckdb"
    path.parent.mkdir(parents=True)
    with closing(duckdb.connect(str(path))) as con:
        con.execute("create schema core")
        con.execute(
            "create table core.fct_tracking_events as select 'tracking_log' as source, event_key, delivery_id,"
            " message_id, timestamp '2024-05-01' as occurred_at, true as is_in_time_range,"
            " timestamp '2024-05-01' as ingested_at from (values ('a', 1, 10), ('b', 2, 10), ('c', 3, 30),"
            " ('d', 4, 30), ('e', 5, 50), ('f', 0, 60)) as e (event_key, delivery_id, message_id)"
        )
        con.execute(
            "create table core.fct_esp_events as select 'g' as event_key, 5 as delivery_id, 70 as message_id,"
            " timestamp '2024-05-01' as occurred_at, null::varchar as time_flag, timestamp '2024-05-01' as ingested_at,"
            " false as is_counted, 'open' as event_kind"
        )
        con.execute(
            "create table core.dim_deliveries as select * from (values (1, timestamp '2024-05-02', null), (2, null,"
            " timestamp '2024-05-03'), (3, timestamp '2024-05-02', null), (4, timestamp '2024-05-23',"
            " timestamp '2024-05-01'), (5, null, null)) as d (delivery_id, validity_end_at, sent_at)"
        )
    found, held_back = retention._expired(house.settings, NOW - timedelta(days=KEPT_DAYS), set())
    # The end of the validity, else when it was sent, else the last event.
    assert [(entry.delivery_id, entry.expired_at, entry.event_count) for entry in found] == [
        (5, "2024-05-01 00:00:00", 2),
        (1, "2024-05-02 00:00:00", 1),
        (2, "2024-05-03 00:00:00", 1),
    ]
    assert held_back == [3]


def test_the_job_purges_then_runs_the_pipeline(before: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house, runs = before.copy(tmp_path), []
    monkeypatch.setattr(jobs, "_run_pipeline", lambda settings: runs.append(privacy.is_pending(settings)))
    kept = replace(house.settings, keep_tracking_days=None)
    assert jobs.build_retention_job(kept).execute_in_process().success
    assert runs == [] and collect(house.warehouse).purges == []
    assert jobs.build_retention_job(house.settings).execute_in_process().success
    assert runs == [True] and collect(house.warehouse).purges[0]["line_count"] > 1000  # type: ignore[operator]
    # What has landed since has to be published first: a run does that.
    logs(house.landing, "late/0x1.log", line(0x1, server="z"))
    ingest(house.landing, house.warehouse, run_id="more")
    failed = jobs.build_retention_job(house.settings).execute_in_process(raise_on_error=False)
    assert not failed.success and runs == [True, True]
