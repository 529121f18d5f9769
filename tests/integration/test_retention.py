"""Retention: a purge takes the events and messages of old deliveries away, and no number of any report changes with
it, until the statistics go as well.

The sample has every source and report: what is compared is all of it. Small stories beside it hold what it has not.
"""

import re
import shutil
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
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
from orchestration.publication import current
from orchestration.publish import publish
from orchestration.settings import Settings
from orchestration.verify import verify
from tests.campaign import write_csv
from tests.conftest import mtw
from tests.espevents import jsonl, sendgrid
from tests.invariants import assert_accounted, landed, query
from tests.loglines import line, logs
from tests.marts import build_marts

NOW = datetime(2024, 5, 24)
KEPT_DAYS, KEPT_LOG_DAYS = 10, 12
"""Of the sample's deliveries, some expired more than ten days before, some of them more than twelve; others not yet."""

LATER, KEPT_STATISTICS_DAYS = datetime(2024, 6, 17), 25
"""By then all but one have expired, one too late for its messages to go. Most did so more than 25 days ago: of some of
these nothing is purged yet, of one only the tracking."""

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
        days = {"MTW_KEEP_TRACKING_DAYS": str(KEPT_DAYS), "MTW_KEEP_DELIVERY_LOGS_DAYS": str(KEPT_LOG_DAYS)}
        return cls(folder / "landing", Settings.load(places | days, dotenv=Path("/nowhere")))

    def keeping(self, **days: int | None) -> "House":
        """The same with other settings, by their names in Settings."""
        return replace(self, settings=replace(self.settings, **days))  # type: ignore[arg-type]

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

    def purge(self, now: datetime = NOW) -> retention.Purge:
        return retention.purge(self.settings, now=now)

    def query(self, sql: str) -> list[tuple]:
        with closing(duckdb.connect(str(self.settings.published_database.resolve()), read_only=True)) as con:
            return con.execute(sql).fetchall()

    def reports(self) -> dict[str, list[tuple]]:
        """Every row of every report but lists of events, and of the aggregates in core that name nobody."""
        names = self.query(
            "select schema_name, table_name from duckdb_tables() where schema_name = 'reports'"
            " or table_name in ('agg_tracking_5min', 'agg_message_activity', 'agg_message_hours', 'agg_shared_opens',"
            " 'agg_web_hits')"
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
    house.run()
    return house


@pytest.fixture(scope="module")
def later(after: House, tmp_path_factory: pytest.TempPathFactory) -> House:
    """Purged once more, three weeks later, of statistics too, and published again."""
    house = after.copy(tmp_path_factory.mktemp("later")).keeping(keep_statistics_days=KEPT_STATISTICS_DAYS)
    house.purge(LATER)
    house.run(tests=True)
    return house


def test_no_number_changes(before: House, after: House) -> None:
    old, new = before.reports(), after.reports()
    assert old.keys() == new.keys() and len(old) > 25
    for name, rows in old.items():
        missing = [row for row in rows if row not in set(new[name])][:3]
        extra = [row for row in new[name] if row not in set(rows)][:3]
        assert new[name] == rows, (name, missing, extra)


def purged_ids(house: House, kind: str = "tracking", least: int = 2) -> str:
    found = house.query(f"select delivery_id from meta.purges where kind = '{kind}'")
    assert len(found) >= least
    return ", ".join(str(number) for (number,) in found)


def test_what_is_shown_and_known_of_purged_deliveries(before: House, after: House) -> None:
    ids, without_logs = purged_ids(after, least=3), purged_ids(after, "delivery_logs")
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
    # Of the provider's events only acts are tracking; what became of messages stays with the messages.
    kinds = "select event_kind, count(*) from core.fct_esp_events where {} group by all order by all"
    assert after.query(kinds.format(f"delivery_id in ({ids})")) == before.query(
        kinds.format(
            f"delivery_id in ({ids}) and event_kind not in ('open', 'click', 'unsubscribe')"
            f" and delivery_id not in ({without_logs})"
        )
    )
    message = "select * from core.fct_messages where delivery_id not in ({}) order by all"
    assert after.query(message.format("0")) == before.query(message.format(without_logs))
    assert before.query(kinds.format(f"delivery_id in ({without_logs})"))
    # Wherever the landed rows tell of them, they are gone.
    assert query(
        f"select count(*) from {landed(after.warehouse, 'messages')} where delivery_id in ({without_logs})"
    ) == [(0,)]
    counted = before.query(
        "select delivery_id, count(*), min(occurred_at), max(occurred_at) from (select delivery_id, event_key,"
        " occurred_at from core.fct_tracking_events union select delivery_id, event_key, occurred_at from"
        " core.fct_esp_events where event_kind in ('open', 'click', 'unsubscribe'))"
        f" where delivery_id in ({ids}) group by all order by all"
    )
    assert counted == after.query(
        "select delivery_id, event_count, first_event_at, last_event_at from meta.purges where kind = 'tracking'"
        " order by all"
    )
    assert before.query(
        "select delivery_id, count(*), min(reference_event_at), max(reference_event_at) from core.fct_messages"
        f" where delivery_id in ({without_logs}) group by all order by all"
    ) == after.query(
        "select delivery_id, event_count, first_event_at, last_event_at from meta.purges where kind <> 'tracking'"
        " order by all"
    )
    assert after.query("select distinct kind, kept_days from meta.purges order by all") == [
        ("delivery_logs", KEPT_LOG_DAYS),
        ("tracking", KEPT_DAYS),
    ]
    # Deliveries stay known, also those that only their events named.
    assert before.query("select * from core.dim_deliveries order by all") == after.query(
        "select * from core.dim_deliveries order by all"
    )
    # A purge restates nothing.
    assert after.query("select count(*) from meta.restatements") == [(0,)]


def test_links_of_purged_deliveries_keep_their_members(before: House, after: House, later: House) -> None:
    counting = (
        *("core.agg_tracking_5min", "core.agg_page_visits", "reports.rpt_url_click_streams"),
        *("reports.rpt_url_click_streams_daily", "reports.rpt_hot_clicks"),
    )
    without = "select delivery_id, url_id from {} anti join core.dim_tracked_urls using (delivery_id, url_id)"
    for house in (before, after, later):
        astray = {name: house.query(without.format(name)) for name in counting}
        assert not any(astray.values()), astray
    # Of a link that no row declares for the delivery and no event is on any more.
    assert after.query(
        "select count(*) from core.dim_tracked_urls anti join core.fct_tracking_events using (delivery_id, url_id)"
        f" where delivery_id in ({purged_ids(after)}) and (is_shared or is_unknown)"
    ) > [(0,)]


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
    shown = mtw("status", "--files", landing=after.landing, warehouse=after.warehouse)
    assert shown.returncode == 0, shown.stderr
    for kind, days in (("tracking", KEPT_DAYS), ("delivery_logs", KEPT_LOG_DAYS)):
        assert re.search(rf"{kind}\s+{days}\s+\d+\s+[\d,]+\n", shown.stdout), shown.stdout
    # One version is left: the others hold what was purged.
    assert [path.name for path in (after.settings.published_dir / "versions").iterdir()] == [
        current(after.settings.published_dir).label  # type: ignore[union-attr]
    ]


def test_what_is_left_when_statistics_go(before: House, later: House) -> None:
    ids, without_logs = purged_ids(later, "statistics", 4), purged_ids(later, "delivery_logs", 8)
    # Of an unknown one its last event says when it expired; that was purged before.
    last = "(select max(occurred_at) from core.fct_tracking_events as e where e.delivery_id = d.delivery_id)"
    assert before.query(
        f"select delivery_id from core.dim_deliveries as d where coalesce(validity_end_at, sent_at, {last})"
        f" < timestamp '{LATER}' - interval {KEPT_STATISTICS_DAYS} day and delivery_id <> 0 order by 1"
    ) == later.query("select delivery_id from meta.purges where kind = 'statistics' order by 1")
    # No report has a row of these, and of the others every row is as it was.
    with_deliveries = later.query(
        "select table_name from duckdb_columns() where column_name = 'delivery_id' and (schema_name = 'reports'"
        " or table_name like 'agg_%') order by 1"
    )
    names = {name for (name,) in with_deliveries if name not in ONLY_WHAT_IS_KEPT}
    assert len(names) > 20
    for name in names:
        schema = "core" if name.startswith("agg_") else "reports"
        assert later.query(f"select count(*) from {schema}.{name} where delivery_id in ({ids})") == [(0,)], name
        # Persons are digests by now, and platform averages are of the deliveries that are left.
        if name not in ("agg_person_clicks", "agg_software_users", "agg_page_visits", "rpt_delivery_rates"):
            rows = f"select * from {schema}.{name} where delivery_id not in ({ids}) order by all"
            assert later.query(rows) == before.query(rows), name
    # Roll-ups are those of the other deliveries, counted from their events.
    assert later.query(
        "select total_open_count, total_click_count, recipient_open_count, person_click_count"
        " from reports.rpt_tracking_rollups where rollup = 'all'"
    ) == before.query(
        "select count(*) filter (where url_id = 1), count(*) filter (where url_type = 1),"
        " count(distinct (delivery_id, message_id)) filter (where message_id <> 0 and"
        " coalesce(url_type not in (4, 5), true)),"
        " count(distinct visitor_id) filter (where url_type = 1)"
        f" from core.fct_tracking_events where delivery_id not in ({ids})"
    )
    sent = before.query(
        "select date_trunc('hour', coalesce(reference_event_at, event_at)) as hour, count(*),"
        " count(*) filter (where status = 2) from core.fct_messages"
        f" where status between 1 and 5 and hour is not null and delivery_id not in ({ids})"
        " group by all order by all"
    )
    hours = "select bucket_at, message_count, error_count from reports.rpt_delivery_throughput order by all"
    assert later.query(hours) == sent and len(before.query(hours)) > len(sent) > 2
    # Also when one was sent that only its messages told.
    deliveries = "select delivery_id, sent_at, is_sent_at_derived from core.dim_deliveries order by all"
    assert later.query(deliveries) == before.query(deliveries)
    assert (True,) in later.query(
        f"select is_sent_at_derived from core.dim_deliveries where delivery_id in ({without_logs})"
    )
    # Why roll-ups fell is recorded, and not what the numbers were.
    assert later.query("select delivery_id, indicator, old_value, reason from meta.restatements order by 1") == [
        (delivery, "*", None, "retention")
        for (delivery,) in later.query("select delivery_id from meta.purges where kind = 'statistics' order by 1")
    ]
    frozen = f"read_parquet('{later.warehouse}/landed/frozen/*/*s.rpt_tracking_indicators*.parquet')"
    assert query(f"select count(*) from {frozen} where delivery_id in ({ids})") == [(0,)]


def test_late_lines_change_kept_deliveries_alone_and_a_rebuild_agrees(
    before: House, later: House, tmp_path_factory: pytest.TempPathFactory
) -> None:
    house = later.copy(tmp_path_factory.mktemp("late")).keeping(keep_statistics_days=KEPT_STATISTICS_DAYS)
    (tracked,) = later.query(
        "select min(delivery_id) from core.fct_messages where delivery_id in"
        " (select delivery_id from meta.purges where kind = 'tracking')"
    )[0]
    # Of this one the messages are gone as well; of which, the warehouse before them knows.
    (purged,) = later.query(
        "select delivery_id from meta.purges where kind = 'delivery_logs' and delivery_id not in"
        " (select delivery_id from meta.purges where kind = 'statistics') order by 1"
    )[0]
    of_tracked, message = (
        before.query(f"select min(message_id) from core.fct_messages where delivery_id = {delivery}")[0][0]
        for delivery in (tracked, purged)
    )
    kept, other = later.query(
        "select delivery_id, min(message_id) from core.fct_messages where delivery_id <> 0"
        f" and delivery_id not in ({purged_ids(later)}) group by delivery_id"
    )[0]
    at = "2024-06-12T10:00:00.000"
    someone = "00000000-0000-4000-8000-00000000abcd"
    logs(
        house.landing,
        "late/0x1.log",
        line(0x1, server="z", at=at, message=message, delivery=purged, visitor=someone),
        line(0x2, server="z", at=at, message=message, delivery=0, visitor=someone),
        line(0x3, server="z", at=at, message=other, delivery=kept, visitor=someone),
        line(0x4, server="z", at=at, message=of_tracked, delivery=0, visitor=someone),
    )
    # What became of messages: of the one whose messages are gone, it is late.
    jsonl(
        house.landing,
        "sendgrid/late.jsonl",
        sendgrid("bounce", 1_718_200_000, "a@late.example", message_id=str(message), reason="552 full"),
        sendgrid("bounce", 1_718_200_001, "b@late.example", message_id=str(of_tracked), reason="552 full"),
    )
    # Extracts come again and again: a message that was purged, one that nobody knew, and one that is kept.
    write_csv(
        house.landing,
        "messages",
        [
            {"message_id": number, "delivery_id": delivery, "recipient_id": 5, "status": 2, "address": "a@late.example"}
            for number, delivery in ((message, purged), (77_000_001, purged), (77_000_002, tracked))
        ],
        "late.csv",
    )
    # What is known of it changes too: its reports do not.
    write_csv(house.landing, "deliveries", [{"delivery_id": purged, "label": "Renamed", "sent_at": at}], "late.csv")
    house.run()
    # Three lines of the log, a bounce, two messages.
    assert collect(house.warehouse).late_lines == 6
    assert house.query("select message_id from core.fct_esp_events where occurred_at > '2024-06-12 12:00'") == [
        (of_tracked,)
    ]
    assert house.query("select message_id from core.fct_messages where message_id between 77000001 and 77000002") == [
        (77_000_002,)
    ]
    label = f"select delivery_label from core.dim_deliveries where delivery_id = {purged}"
    assert house.query(label) == [("Renamed",)] != later.query(label)
    old, new = later.reports(), house.reports()
    assert old.keys() == new.keys()
    changed = {name for name in old if old[name] != new[name]}
    assert "rpt_tracking_indicators" in changed and "rpt_tracking_rollups" in changed
    rows = f"select * from reports.rpt_tracking_indicators where delivery_id {{}} {kept} order by all"
    assert house.query(rows.format("<>")) == later.query(rows.format("<>"))
    opens = f"select total_open_count from reports.rpt_tracking_indicators where delivery_id = {kept}"
    assert house.query(opens)[0][0] == later.query(opens)[0][0] + 1
    _, pseudonym = load_key(house.warehouse).mark("person", someone)
    assert house.query(f"select count(*) from core.fct_tracking_events where visitor_id = '{pseudonym}'") == [(1,)]
    # Nothing is due any more.
    assert house.purge(LATER).report.purges == []
    # Built anew from landed and frozen rows, all marts are the same.
    verified = verify(house.settings)
    assert {result.name for result in verified.differing} == set()
    assert len(verified.results) > 60


def test_an_explanation_says_that_lines_were_purged(after: House, later: House) -> None:
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
    # Of numbers that take events of other deliveries too, those that still stand are counted again all the same.
    (path,) = after.query("select path_label from reports.rpt_web_paths where position = 1")[0]
    of_others = [
        ("rpt_web_hits_by_outcome.web_hit_count", {"outcome": "session"}),
        ("rpt_web_paths.path_visitor_count", {"path_label": path, "position": "1"}),
        *(
            ("rpt_sharing.shared_open_count", {"delivery_id": str(shared), "network": network})
            for shared, network in after.query(
                "select delivery_id, network from reports.rpt_sharing where shared_open_count > 0"
            )
        ),
    ]
    for target, chosen in of_others:
        with explained(database, landed, target, chosen, 5) as found:
            part = found.parts[0]
            assert (part.recount != part.value) == bool(part.purged) and list(disagreements(found)) == [], target
    with (
        pytest.raises(NotThere, match=r"purged on .*delivery_tracking has no row"),
        explained(database, landed, "delivery_tracking", keys, 5),
    ):
        pass
    # Its messages are gone as well; later, so are its statistics.
    keys = {"delivery_id": purged_ids(after, "delivery_logs").split(", ")[0]}
    with explained(database, landed, "rpt_tracking_indicators.success_count", keys, 5) as found:
        part = found.parts[0]
        assert (part.value > 0, part.recount, list(disagreements(found))) == (True, 0, [])  # type: ignore[operator]
        assert re.search("tracking events and messages of this delivery were purged on", part.purged)
    database, landed = later.settings.published_database, later.settings.landed_dir
    with (
        pytest.raises(NotThere, match=r"statistics of this delivery were purged on .*indicators has no row"),
        explained(database, landed, "rpt_tracking_indicators.success_count", keys, 5),
    ):
        pass


def test_the_command(before: House) -> None:
    """What mtw purge prints and how it ends; its run is that of any command."""
    settings = {"MTW_KEEP_TRACKING_DAYS": str(KEPT_DAYS), "MTW_KEEP_DELIVERY_LOGS_DAYS": str(KEPT_LOG_DAYS)}
    places = {"landing": before.landing, "warehouse": before.warehouse}
    done = mtw("purge", "--dry-run", settings=settings, **places)
    assert done.returncode == 0, done.stderr
    # All of the sample expired long ago, by the clock; one has messages and no event.
    newest = before.query("select max(occurred_at) from core.fct_tracking_events where delivery_id <> 0")[0][0]
    (count,) = before.query(
        "select count(*) from (select delivery_id from core.fct_tracking_events union select delivery_id from"
        " core.fct_messages) where delivery_id <> 0"
    )[0]
    counts = r"[\d,]+\s+[\d,]+"
    found = re.search(rf"tracking\s+{KEPT_DAYS}\s+{count}\s+{counts}\s+2024\S+ \S+\s+{newest:%Y-%m-%d}", done.stdout)
    assert found, done.stdout
    logged = before.query("select count(distinct delivery_id) from core.fct_messages")[0][0]
    assert re.search(rf"delivery_logs\s+{KEPT_LOG_DAYS}\s+{logged}\s+{counts}\s+2024", done.stdout), done.stdout
    # What was set aside has just come.
    assert re.search(rf"set_aside\s+{KEPT_DAYS}\s+0\s+0\s+0", done.stdout) and "statistics" not in done.stdout
    assert collect(before.warehouse).purges == []
    unset = mtw("purge", **places)
    assert unset.returncode == 0 and "MTW_KEEP_TRACKING_DAYS is not set" in unset.stdout
    shorter = mtw("purge", settings=settings | {"MTW_KEEP_DELIVERY_LOGS_DAYS": "9"}, **places)
    assert shorter.returncode == 2 and shorter.stderr.count("\n") == 1
    assert "raise it, or set MTW_KEEP_TRACKING_DAYS to at most 9" in shorter.stderr
    wrong = mtw("purge", settings={"MTW_KEEP_TRACKING_DAYS": "a year"}, **places)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1) and "whole number of days" in wrong.stderr


def test_nothing_is_purged_that_is_not_published(before: House, tmp_path: Path) -> None:
    house = before.copy(tmp_path)
    logs(house.landing, "late/0x1.log", line(0x1, server="z"))
    ingest(house.landing, house.warehouse, run_id="more")
    with pytest.raises(retention.NotPublishedError, match="mtw run"):
        house.purge()
    assert collect(house.warehouse).purges == []


def test_deliveries_that_share_a_message_go_together(tmp_path: Path) -> None:
    """By hand: 1 and 2 expired and share a message; 3 expired and shares one with 4, which has not; 5 expired; an
    event of 4 is of a message of 6, which expired and has no event of its own; 7 has nothing but a message.
    """
    house = House.at(tmp_path)
    path = house.settings.published_dir / "marts.duckdb"
    path.parent.mkdir(parents=True)
    with closing(duckdb.connect(str(path))) as con:
        con.execute("create schema core")
        con.execute(
            "create table core.fct_tracking_events as select 'tracking_log' as source, event_key, delivery_id,"
            " message_id, timestamp '2024-05-01' as occurred_at, true as is_in_time_range,"
            " timestamp '2024-05-01' as ingested_at from (values ('a', 1, 10), ('b', 2, 10), ('c', 3, 30),"
            " ('d', 4, 30), ('e', 5, 50), ('f', 0, 60), ('h', 4, 80)) as e (event_key, delivery_id, message_id)"
        )
        con.execute(
            "create table core.fct_esp_events as select 'g' as event_key, 5 as delivery_id, 70 as message_id,"
            " timestamp '2024-05-01' as occurred_at, null::varchar as time_flag, timestamp '2024-05-01' as ingested_at,"
            " false as is_counted, 'open' as event_kind"
        )
        con.execute(
            "create table core.fct_messages as select message_id, delivery_id, timestamp '2024-05-01' as event_at,"
            " null::timestamp as reference_event_at, null::varchar as time_flag"
            " from (values (10, 1), (50, 5), (51, 5), (80, 6), (90, 7))"
            " as m (message_id, delivery_id)"
        )
        con.execute(
            "create table core.dim_deliveries as select * from (values (1, timestamp '2024-05-02', null), (2, null,"
            " timestamp '2024-05-13'), (3, timestamp '2024-05-02', null), (4, timestamp '2024-05-23',"
            " timestamp '2024-05-01'), (5, null, null), (6, timestamp '2024-05-01', null), (7, timestamp '2024-05-03',"
            " null)) as d (delivery_id, validity_end_at, sent_at)"
        )
    periods = retention.Periods.of(house.settings)
    nothing: dict[str, set[int]] = {"tracking": set(), "delivery_logs": set(), "statistics": set()}
    found, held_back = retention._expired(house.settings, periods, NOW, nothing, {})
    # The end of the validity, else when it was sent, else the last event. What has no events goes with its messages.
    assert [(entry.delivery_id, entry.expired_at, entry.event_count) for entry in found["tracking"]] == [
        (5, "2024-05-01 00:00:00", 2),
        (6, "2024-05-01 00:00:00", 0),
        (1, "2024-05-02 00:00:00", 1),
        (7, "2024-05-03 00:00:00", 0),
        (2, "2024-05-13 00:00:00", 1),
    ]
    assert [(entry.delivery_id, entry.event_count) for entry in found["delivery_logs"]] == [(5, 2), (1, 1), (7, 1)]
    assert held_back == [3, 6]
    # What only its events said is remembered, once they are gone.
    with closing(duckdb.connect(str(path))) as con:
        con.execute("delete from core.fct_tracking_events where delivery_id = 5")
        con.execute("delete from core.fct_esp_events")
    former = nothing | {"tracking": {5}}
    found, _ = retention._expired(house.settings, periods, NOW, former, {5: datetime(2024, 5, 1)})
    assert 5 in {entry.delivery_id for entry in found["delivery_logs"]} - {
        entry.delivery_id for entry in found["tracking"]
    }


def test_the_job_purges_then_runs_the_pipeline(before: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house, runs = before.copy(tmp_path), []
    monkeypatch.setattr(jobs, "_run_pipeline", lambda settings: runs.append(privacy.is_pending(settings)))
    kept = replace(house.settings, keep_tracking_days=None, keep_delivery_logs_days=None)
    assert jobs.build_retention_job(kept).execute_in_process().success
    assert runs == [] and collect(house.warehouse).purges == []
    assert jobs.build_retention_job(house.settings).execute_in_process().success
    assert runs == [True] and [purge["kind"] for purge in collect(house.warehouse).purges] == [
        "delivery_logs",
        "tracking",
    ]
    # What has landed since has to be published first: a run does that.
    logs(house.landing, "late/0x1.log", line(0x1, server="z"))
    ingest(house.landing, house.warehouse, run_id="more")
    failed = jobs.build_retention_job(house.settings).execute_in_process(raise_on_error=False)
    assert not failed.success and runs == [True, True]
