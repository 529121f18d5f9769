"""Reference rows straight from a real PostgreSQL: the same as from files, incremental, resumable, and silent about
passwords."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from log_ingest.erasure import erase
from log_ingest.errors import IngestError
from log_ingest.ingest import LEDGER_NAME, ingest
from log_ingest.ledger import Ledger
from log_ingest.platform import database as platform_database
from log_ingest.platform import take_tables
from log_ingest.platform.mapping import SHIPPED, load_mapping
from log_ingest.platform.take_tables import PlatformSource, look
from log_ingest.progress import NullProgress
from log_ingest.report import IngestReport
from log_ingest.status import collect
from tests import campaign
from tests.campaign import current, fill, insert, message
from tests.conftest import ROOT, mtw
from tests.invariants import assert_accounted
from tests.loglines import line, logs
from tests.marts import build_marts, connect
from tests.ownbytes import places_of
from tests.postgres import Database, Server

SMALL_PROJECT = Path(__file__).with_name("small_project")
PASSWORD = "s3cr%t/p@ss word"


@pytest.fixture(scope="module")
def untouched(postgres: Server) -> Database:
    """The platform's tables with a small campaign in them, for tests that only read."""
    database = postgres.new_database()
    campaign.create(database)
    fill(database)
    return database


@pytest.fixture
def platform(untouched: Database, postgres: Server) -> Database:
    """The same, for tests that write."""
    return postgres.new_database(options=f"template {untouched.name}")


def run(
    landing: Path, warehouse: Path, database: Database, mapping: Path | None = None, *, is_full: bool = False, **options
) -> IngestReport:
    source = PlatformSource.load(database.url, mapping, is_full=is_full)
    report = ingest(landing, warehouse, run_id="test", platform=source, **options)
    assert_accounted(warehouse)
    return report


def now(**ago: float) -> str:
    return (datetime.now(UTC) - timedelta(**ago)).isoformat()


def landed_rows(warehouse: Path, entity: str) -> int:
    files = f"'{warehouse}/landed/{entity}/*/*.parquet'"
    return duckdb.connect().execute(f"select count(*) from read_parquet({files})").fetchall()[0][0]


def edited(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    """The shipped mapping with some texts replaced."""
    text = SHIPPED.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = tmp_path / "mapping.yml"
    path.write_text(text)
    return path


def test_tables_give_what_the_same_data_gives_as_files(untouched: Database, landing: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    report = run(empty, tmp_path / "from_tables", untouched)
    assert report.problems == []
    campaign.write_files(untouched, landing)
    ingest(landing, tmp_path / "from_files", run_id="test")
    from_tables, from_files = current(tmp_path / "from_tables"), current(tmp_path / "from_files")
    for entity in ("deliveries", "messages", "tracked_urls", "recipients", "services", "subscriptions"):
        assert from_tables[entity] == from_files[entity], entity
        assert len(from_files[entity]) > 1, entity
    delivery = from_tables["deliveries"][(2**32 - 2_000_000_000,)]
    assert (delivery["label"], delivery["html_content"], delivery["channel"]) == (
        'Grüße, "日本"',
        campaign.HTML,
        "email",
    )
    assert delivery["validity_end_at"] == datetime(2026, 3, 8, 9, 0, 0, 123456)
    assert from_tables["deliveries"][(71,)]["html_content"] is None, "content that is no XML is no content"
    assert from_tables["messages"][(2**32 - 40,)]["failure_reason"] == 1
    provenance = duckdb.connect().execute(
        f"select distinct source_file from read_parquet('{tmp_path}/from_tables/landed/messages/*/*.parquet')"
    )
    assert provenance.fetchall() == [("postgresql/nmsbroadlogrcp",)]


def test_marts_are_built_from_tables_and_a_purged_row_keeps_its_attributes(
    platform: Database, landing: Path, warehouse: Path
) -> None:
    delivery = 2**32 + campaign.DELIVERIES[0]
    # Messages 2, 4 … 38 of the delivery; those below 50 have negative ids.
    hits = [line(16 + n, message=f"{n * 2 - 50 + 2**32:x}", delivery=f"{delivery:x}", url="1") for n in range(1, 20)]
    logs(landing, "a/0x0000000000000010.log", *hits)
    run(landing, warehouse, platform)
    for table in ("nmsdelivery", "nmsbroadlogrcp", "nmsrecipient", "nmstrackingurl", "nmssubhisto"):
        platform.execute(f"delete from {table}")
    assert not run(landing, warehouse, platform, is_full=True).has_new
    assert landed_rows(warehouse, "content_links") == 1, "the HTML of a table's delivery is read as that of a file's"
    build_marts(landing, warehouse)
    with connect(warehouse) as con:
        shown = con.execute(
            "select delivery_label, to_deliver_count, error_count, recipient_open_count, total_open_count"
            f" from reports.rpt_tracking_indicators where delivery_id = {delivery}"
        ).fetchall()
        recipients = con.execute(
            "select count(*) from core.fct_opens join core.dim_recipients using (recipient_id) where not is_unknown"
            " and email like 'r%@example.com'"
        ).fetchall()
    # 59 messages have an even number; those that end in 0 failed.
    assert shown == [('Grüße, "日本"', 59, 11, 19, 19)]
    assert recipients == [(19,)]


def test_only_what_changed_is_landed(platform: Database, landing: Path, warehouse: Path) -> None:
    first = run(landing, warehouse, platform)
    assert first.totals["messages"].accepted == 119
    batches = first.latest_batch_id
    again = run(landing, warehouse, platform)
    assert not again.has_new
    assert again.latest_batch_id == batches

    platform.execute(
        f"update nmsbroadlogrcp set istatus = 2, imsgid = 4, tslastmodified = '{now()}' where ibroadlogid = 61",
        f"update nmsdelivery set slabel = 'renamed', tslastmodified = '{now()}' where ideliveryid = 71",
        "update nmstrackingurl set slabel = 'relabelled' where itrackingurlid = -500",
        # Written again with nothing changed.
        f"update nmsrecipient set tslastmodified = '{now()}' where irecipientid = 5",
    )
    insert(platform, "nmsbroadlogrcp", [message(500, tslastmodified=now())])
    changed = run(landing, warehouse, platform)
    accepted = {name: totals.accepted for name, totals in changed.totals.items() if totals.accepted}
    assert accepted == {"messages": 2, "deliveries": 1, "tracked_urls": 1}
    rows = current(warehouse)
    assert (rows["messages"][(61,)]["status"], rows["messages"][(61,)]["failure_reason"]) == (2, 1)
    assert rows["deliveries"][(71,)]["label"] == "renamed"
    assert not run(landing, warehouse, platform).has_new

    status = {source.source: source for source in collect(warehouse).sources}
    assert (status["messages"].files, status["messages"].lines, status["messages"].accepted) == (1, 121, 121)


def test_a_value_that_comes_back_is_news(platform: Database, landing: Path, warehouse: Path) -> None:
    for label in ("first", "second", "first"):
        platform.execute(
            f"update nmsdelivery set slabel = '{label}', tslastmodified = '{now()}' where ideliveryid = 71",
            f"update nmstrackingurl set slabel = '{label}' where itrackingurlid = -500",
        )
        run(landing, warehouse, platform)
        rows = current(warehouse)
        assert rows["deliveries"][(71,)]["label"] == label
        assert [row["label"] for row in rows["tracked_urls"].values() if row["url_id"] == 2**32 - 500] == [label]


def test_a_transaction_that_commits_late_is_found(platform: Database, landing: Path, warehouse: Path) -> None:
    insert(platform, "nmsbroadlogrcp", [message(900, tslastmodified=now(minutes=50))])
    run(landing, warehouse, platform)
    with psycopg.connect(platform.url) as late:
        late.execute(
            "insert into nmsbroadlogrcp select 901, ideliveryid, irecipientid, istatus, imsgid, iflags, saddress,"
            f" tsevent, '{now(minutes=30)}' from nmsbroadlogrcp where ibroadlogid = 900"
        )
        # Meanwhile a younger row is seen, so that the mark is beyond the late one.
        insert(platform, "nmsbroadlogrcp", [message(902, tslastmodified=now())])
        run(landing, warehouse, platform)
        assert (901,) not in current(warehouse)["messages"]
        late.commit()
    assert run(landing, warehouse, platform).totals["messages"].accepted == 1
    assert (901,) in current(warehouse)["messages"]


def test_a_row_stamped_in_the_future_hides_nothing(platform: Database, landing: Path, warehouse: Path) -> None:
    insert(platform, "nmsbroadlogrcp", [message(900, tslastmodified="2999-01-01 00:00:00+00")])
    run(landing, warehouse, platform)
    insert(platform, "nmsbroadlogrcp", [message(901, tslastmodified=now())])
    assert run(landing, warehouse, platform).totals["messages"].accepted == 1


def test_what_the_modified_column_does_not_tell_is_found_by_a_full_pass(
    platform: Database, landing: Path, warehouse: Path, tmp_path: Path
) -> None:
    insert(platform, "nmsbroadlogrcp", [message(901, tslastmodified=now())])
    run(landing, warehouse, platform)
    insert(platform, "nmsbroadlogrcp", [message(902, tslastmodified=now(hours=3))])
    platform.execute("update nmsbroadlogmsg set ifailurereason = 5 where ibroadlogmsgid = 4")
    assert not run(landing, warehouse, platform).has_new, "older than the overlap; a joined table"
    full = run(landing, warehouse, platform, is_full=True)
    # The row that came too late, and the eleven failed messages whose reason was judged anew.
    assert full.totals["messages"].accepted == 1 + 11
    rows = current(warehouse)["messages"]
    assert (902,) in rows
    assert {row["failure_reason"] for row in rows.values() if row["status"] == 2} == {5}

    insert(platform, "nmsbroadlogrcp", [message(903, tslastmodified=now(days=3))])
    due = edited(tmp_path, ("full_every_days: 7", "full_every_days: 0.0000001"))
    run(landing, warehouse, platform, due)
    assert (903,) in current(warehouse)["messages"], "the period has passed: the table was read whole"


def test_all_tables_show_one_moment(platform: Database, landing: Path, warehouse: Path) -> None:
    class Writer(NullProgress):
        """Somebody writes a message while deliveries are read."""

        def start(self, source: str, total_bytes: int, total_files: int) -> None:
            if source == "messages" and total_bytes == 0 and total_files == 1:
                insert(platform, "nmsbroadlogrcp", [message(950, tslastmodified=now())])

    run(landing, warehouse, platform, progress=Writer())
    assert (950,) not in current(warehouse)["messages"]
    run(landing, warehouse, platform)
    assert (950,) in current(warehouse)["messages"]


KILLED = """
import os, signal, sys
from pathlib import Path
from log_ingest.ingest import ingest
from log_ingest.ledger import Ledger
from log_ingest.platform import database, take_tables
from log_ingest.platform.take_tables import PlatformSource
landing, warehouse, url, where, count = sys.argv[1:]
database.BLOCK_BYTES, take_tables.BATCH_BYTES = 700, 1500
commit, commits = Ledger.commit, 0
def counted(self, batch_id, what):
    global commits
    commits += batch_id is not None
    if where == "before" and commits == int(count):
        os.kill(os.getpid(), signal.SIGKILL)
    commit(self, batch_id, what)
    if where == "after" and commits == int(count):
        os.kill(os.getpid(), signal.SIGKILL)
Ledger.commit = counted
ingest(Path(landing), Path(warehouse), run_id="killed", platform=PlatformSource.load(url))
"""


def killed(landing: Path, warehouse: Path, url: str, where: str, count: int) -> int:
    script = subprocess.run(
        [sys.executable, "-c", KILLED, str(landing), str(warehouse), url, where, str(count)], cwd=ROOT
    )
    return script.returncode


@pytest.mark.parametrize(("where", "count"), [("before", 1), ("after", 1), ("after", 4), ("before", 7), ("after", 12)])
def test_a_killed_run_goes_on_where_it_stopped(
    where: str, count: int, untouched: Database, landing: Path, tmp_path: Path
) -> None:
    warehouse = tmp_path / "killed"
    assert killed(landing, warehouse, untouched.url, where, count) == -signal.SIGKILL
    with Ledger(warehouse / LEDGER_NAME, read_only=True) as ledger:
        before = sum(row["accepted_count"] for row in ledger.batches())
    resumed = run(landing, warehouse, untouched)
    run(landing, tmp_path / "whole", untouched)
    assert current(warehouse) == current(tmp_path / "whole")
    everything = sum(len(rows) for rows in current(warehouse).values())
    taken = sum(totals.accepted for totals in resumed.totals.values())
    assert before + taken == everything, "no row landed twice"
    if (where, count) == ("after", 4):
        assert 0 < resumed.totals["messages"].lines < 119, "what was committed is not read again"
    assert not run(landing, warehouse, untouched).has_new


def test_a_run_killed_again_and_again_ends_with_the_same_rows(
    platform: Database, landing: Path, tmp_path: Path
) -> None:
    warehouse = tmp_path / "killed"
    while killed(landing, warehouse, platform.url, "after", 5):
        insert(platform, "nmsbroadlogrcp", [message(1000 + landed_rows(warehouse, "messages"), tslastmodified=now())])
    run(landing, warehouse, platform)
    run(landing, tmp_path / "whole", platform)
    assert current(warehouse) == current(tmp_path / "whole")


def test_a_connection_that_breaks_keeps_what_came_before(
    platform: Database, landing: Path, warehouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # More than fits into the buffers between server and client.
    platform.execute(
        "insert into nmsbroadlogrcp select i, 71, 1, 1, 0, 0, repeat('x', 500), now(), now() - interval '1 day'"
        " from generate_series(10000, 70000) as i"
    )
    monkeypatch.setattr(platform_database, "BLOCK_BYTES", 2_000_000)

    class Breaker(NullProgress):
        done = 0

        def advance(self, source: str, bytes: int, lines: int, files: int) -> None:
            self.done += source == "messages"
            if source == "messages" and self.done == 1:
                platform.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
                    " and application_name = 'message-tracking-warehouse'"
                )

    broken = run(landing, warehouse, platform, progress=Breaker())
    assert "goes on from here" in broken.problems[0]
    assert 0 < broken.totals["messages"].accepted < 60_000
    whole = run(landing, warehouse, platform)
    assert whole.problems == []
    assert broken.totals["messages"].accepted + whole.totals["messages"].lines == 119 + 60_001
    assert len(current(warehouse)["messages"]) == 119 + 60_001


def test_rows_that_cannot_be_read_are_set_aside_once(
    untouched: Database, landing: Path, warehouse: Path, tmp_path: Path
) -> None:
    mapping = edited(tmp_path, ("failure_reason: message_text.ifailurereason", "failure_reason: saddress"))
    bad = run(landing, warehouse, untouched, mapping).totals["messages"]
    assert (bad.accepted, bad.quarantined) == (0, 119)
    again = run(landing, warehouse, untouched, mapping, is_full=True)
    assert not again.has_new
    rows = duckdb.connect().execute(
        f"select source_file, reason, detail, raw from read_parquet('{warehouse}/landed/set_aside/*/*.parquet')"
    )
    first = rows.fetchall()[0]
    assert first[:3] == ("postgresql/nmsbroadlogrcp", "bad_value", "bad_value in column failure_reason")
    assert json.loads(first[3])["failure_reason"].endswith("@exämple.com")
    good = run(landing, warehouse, untouched).totals["messages"]
    assert (good.accepted, good.quarantined) == (119, 0), "another mapping: the table is read whole"


def test_files_and_tables_mix_by_when_they_were_seen(platform: Database, landing: Path, warehouse: Path) -> None:
    def file(label: str, name: str, **ago: float) -> None:
        path = campaign.write_csv(landing, "deliveries", [{"delivery_id": 71, "label": label}], name)
        stamp = (datetime.now(UTC) - timedelta(**ago)).timestamp()
        os.utime(path, (stamp, stamp))

    def label() -> str:
        return current(warehouse)["deliveries"][(71,)]["label"]

    # An extract of last week, younger than the row's own last change: the database is asked today and knows better.
    file("extract of last week", "a.csv", days=7)
    platform.execute("update nmsdelivery set slabel = 'table' where ideliveryid = 71")
    run(landing, warehouse, platform)
    assert label() == "table"
    file("a file of later", "b.csv", days=-0.001)
    run(landing, warehouse, platform)
    assert label() == "a file of later", "an unchanged row is no new statement"
    os.utime(landing / "reference" / "deliveries" / "b.csv", None)
    campaign.write_csv(landing, "mail_domains", [{"domain": "example.com", "domain_label": "Example"}])
    platform.execute(
        f"update nmsdelivery set slabel = 'table again', tslastmodified = '{now()}' where ideliveryid = 71"
    )
    run(landing, warehouse, platform)
    assert current(warehouse)["mail_domains"][("example.com",)]["domain_label"] == "Example"


def test_a_schema_of_ones_own(database: Database, landing: Path, warehouse: Path, tmp_path: Path) -> None:
    """Another schema, renamed tables and columns, a code table, two tables that feed one entity."""
    database.execute(
        'create schema "Neo lane"',
        'create table "Neo lane"."Sends; --" (id bigint primary key, "dlv %s" bigint, rcp int, st text, "at" timestamp,'
        " chg timestamp, score numeric)",
        "create table left_out (id int primary key, dlv int, rcp int, chg timestamp)",
        """insert into "Neo lane"."Sends; --" values
            (1, 5, 7, 'OK', '2026-07-01 12:00:00', '2026-07-01 12:00:00', 1.50),
            (2, 5, 8, 'KO', null, '2026-07-01 12:00:00', null), (-3, 5, 8, '3', null, null, 0)""",
        "insert into left_out values (9, 5, 11, '2026-07-02')",
    )
    mapping = tmp_path / "own.yml"
    mapping.write_text(
        textwrap.dedent("""
        time_zone: Europe/Paris
        tables:
          sends:
            entity: messages
            schema: Neo lane
            table: "Sends; --"
            key: [id]
            modified: chg
            columns:
              message_id: id
              delivery_id: dlv %s
              recipient_id: rcp
              status: {column: st, codes: {OK: 1, KO: 2}}
              event_at: at
              is_seed: {sql: base.rcp % 8 = 0}
            extra: {score: score}
          left_out:
            entity: messages
            table: left_out
            key: [id]
            modified: chg
            columns: {message_id: id, delivery_id: dlv, recipient_id: rcp, status: {sql: '0'}}
        """)
    )
    assert look(PlatformSource.load(database.url, mapping)) == []
    assert run(landing, warehouse, database, mapping).problems == []
    found = current(warehouse)["messages"]
    shown = {
        key[0]: (row["status"], row["event_at"], row["is_seed"], row["extra"].get("score"))
        for key, row in found.items()
    }
    assert shown == {
        1: (1, datetime(2026, 7, 1, 10, 0), False, "1.50"),
        2: (2, None, True, None),
        2**32 - 3: (3, None, True, "0"),
        9: (0, None, None, None),
    }
    assert not run(landing, warehouse, database, mapping).has_new


def test_another_database_is_not_read_with_the_marks_of_this_one(
    platform: Database, postgres: Server, landing: Path, warehouse: Path
) -> None:
    run(landing, warehouse, platform)
    other = postgres.new_database()
    campaign.create(other)
    insert(other, "nmsrecipient", [])
    insert(other, "nmsbroadlogrcp", [message(7000, imsgid=0)])
    insert(other, "nmsbroadlogmsg", [{"ibroadlogmsgid": 0, "ifailurereason": 0}])
    assert run(landing, warehouse, other).totals["messages"].accepted == 1


def test_text_that_is_not_utf8_is_set_aside(postgres: Server, landing: Path, warehouse: Path) -> None:
    """Only a database without an encoding can hold it."""
    database = postgres.new_database(options="encoding 'SQL_ASCII' template template0")
    campaign.create(database)
    database.execute(
        "insert into nmsservice values (1, convert_from('\\x67c3bc74', 'SQL_ASCII'), 'good', 0, now()),"
        " (2, convert_from('\\x62f6', 'SQL_ASCII'), 'bad', 0, now())"
    )
    services = run(landing, warehouse, database).totals["services"]
    assert (services.accepted, services.quarantined) == (1, 1)
    assert current(warehouse)["services"][(1,)]["label"] == "güt"


# -- what cannot be read


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda d: Database(d.port, d.name, d.user, "wrong " + PASSWORD), "password authentication failed"),
        (lambda d: Database(d.port, "nowhere", d.user, d.password), 'database "nowhere" does not exist'),
        (lambda d: Database(1, d.name, d.user, PASSWORD), "server is up"),
    ],
)
def test_a_database_that_cannot_be_reached_holds_up_nothing(
    change: Callable[[Database], Database], problem: str, untouched: Database, landing: Path, warehouse: Path
) -> None:
    logs(landing, "a/0x0000000000000010.log", line(16))
    run(landing, warehouse, untouched)
    logs(landing, "a/0x0000000000000011.log", line(17))
    wrong = change(untouched)
    report = run(landing, warehouse, wrong)
    assert report.totals["tracking_logs"].accepted == 1
    (told,) = report.problems
    assert problem in told and "MTW_REFERENCE_URL" in told and "\n" not in told
    assert wrong.password not in told
    assert {told} == {text for _, text in collect(warehouse).problem_files}
    assert len(collect(warehouse).problem_files) == 6
    assert run(landing, warehouse, untouched).problems == []
    assert collect(warehouse).problem_files == []


def test_a_server_that_never_answers_is_given_up(untouched: Database, landing: Path, warehouse: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mute = Database(silent.getsockname()[1], untouched.name)
        source = PlatformSource.load(f"{mute.url}?connect_timeout=2")
        report = ingest(landing, warehouse, run_id="test", platform=source)
    assert "timeout" in report.problems[0] and "no firewall is between" in report.problems[0]


def test_a_table_without_rights_does_not_keep_the_others_out(
    platform: Database, landing: Path, warehouse: Path
) -> None:
    reader = platform.new_user("reader", PASSWORD)
    granted = "nmsdelivery, nmsoperation, nmstrackingurl, nmsrecipient, nmsservice, nmssubhisto, nmsbroadlogrcp"
    platform.execute(f"grant select on {granted} to reader")
    report = run(landing, warehouse, reader)
    (told,) = report.problems
    assert told == (
        "postgresql/nmsbroadlogrcp: permission denied for table nmsbroadlogmsg; grant select on it to the user of"
        " MTW_REFERENCE_URL"
    )
    assert report.platform_problems == report.problems
    assert report.totals["recipients"].accepted == campaign.RECIPIENTS - 1
    assert look(PlatformSource.load(reader.url)) == report.problems
    platform.execute("grant select on nmsbroadlogmsg to reader")
    assert run(landing, warehouse, reader).totals["messages"].accepted == 119
    platform.execute("drop owned by reader", "drop user reader")


def test_nothing_can_be_written(platform: Database, landing: Path, warehouse: Path, tmp_path: Path) -> None:
    platform.execute("create sequence counter", "create function wipe() returns int language sql as 'delete from"
                     " nmsservice returning 1'")  # fmt: skip
    mapping = edited(tmp_path, ("channel: {column: itype, codes", "channel: {sql: wipe(), codes"))
    report = run(landing, warehouse, platform, mapping)
    assert "read-only transaction" in report.problems[0]
    assert platform.query("select count(*) from nmsservice") == [(3,)]


def test_a_statement_that_takes_too_long_is_given_up(
    untouched: Database, landing: Path, warehouse: Path, tmp_path: Path
) -> None:
    slow = edited(
        tmp_path,
        ("statement_timeout_minutes: 120", "statement_timeout_minutes: 0.005"),
        ("where: {sql: base.iserviceid <> 0}", "where: {sql: pg_sleep(2) is not null}"),
    )
    (told,) = run(landing, warehouse, untouched, slow).problems
    assert "postgresql/nmsservice: not done within 0:00:00.3" in told


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            [("  deliveries:\n", "  deliveries_of_mine:\n")],
            "tables.deliveries_of_mine: 'deliveries_of_mine' is no reference",
        ),
        ([("      delivery_id: ideliveryid\n      internal", "      internal")], "delivery_id must be there"),
        ([("      label: slabel\n", "      lable: slabel\n")], "columns.lable: deliveries has no such column"),
        (
            [("      state: istate", "      channel: istate")],
            "tables.deliveries.extra.channel: is a column of deliveries",
        ),
        ([("operation.slabel", "operations.slabel")], "'operations' is no join of this entry"),
        ([("    key: [ideliveryid]\n", "")], "tables.deliveries: key is missing"),
        ([("    key: [ideliveryid]\n", "    key: ideliveryid\n")], "must be a list of columns"),
        ([("    modified: ", "    modifed: ")], "'modifed' is not known here"),
        ([("time_zone: UTC", "time_zone: Mars/North")], "time_zone: 'Mars/North' is no known zone"),
        ([("overlap_minutes: 60", "overlap_minutes: -1")], "overlap_minutes: -1 is no positive number"),
        ([("{sql: base.iserviceid <> 0}", "{sql: 'true; drop table x'}")], "has a semicolon"),
        ([("      label: slabel\n", "      label: slabel\n      label: sdesc\n")], "label is there twice"),
        ([("tables:\n", "tables: [\n")], "line"),
        ([("entity: messages", "entity: messages")], ""),
    ][:-1],
)
def test_a_mapping_that_is_not_sound_is_refused(changes: list[tuple[str, str]], problem: str, tmp_path: Path) -> None:
    path = edited(tmp_path, *changes)
    with pytest.raises(IngestError, match=re.escape(problem)) as refused:
        load_mapping(path)
    assert str(refused.value).startswith(str(path)) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("table: nmsservice", "table: nmsservices"), "tables.services: the database has no table nmsservices"),
        (("channel: {column: itype,", "channel: {column: iType,"),
         "tables.services.columns.channel: table nmsservice has no column iType; did you mean itype?"),
        (("key: [iserviceid]", "key: [id]"), "tables.services.key: table nmsservice has no column id;"),
        (("name: sname", "name: sunheardof"), "tables.services.extra.name: table nmsservice has no column sunheardof"),
        (("key: [iserviceid]\n    modified: tslastmodified", "key: [iserviceid]\n    modified: sname"),
         "tables.services.modified: sname is no timestamp"),
        (("where: {sql: base.iserviceid <> 0}", "where: {sql: base.nothing}"),
         "tables.services: the database refuses it"),
    ],
)  # fmt: skip
def test_a_mapping_that_does_not_fit_the_database_is_told(
    change: tuple[str, str], problem: str, untouched: Database, landing: Path, warehouse: Path, tmp_path: Path
) -> None:
    path = edited(tmp_path, change)
    report = run(landing, warehouse, untouched, path)
    (told,) = report.problems
    assert told.startswith(f"{path}: {problem}"), told
    assert report.totals["messages"].accepted == 119, "the other tables are read"
    assert look(PlatformSource.load(untouched.url, path)) == [told]


def test_a_join_that_finds_more_than_one_row_is_told(platform: Database, landing: Path, warehouse: Path) -> None:
    """Its rows would take turns as the newest, and land again in every run."""
    platform.execute("alter table nmsbroadlogmsg drop constraint nmsbroadlogmsg_pkey")
    insert(platform, "nmsbroadlogmsg", [{"ibroadlogmsgid": 4, "ifailurereason": 5}])
    for _ in range(2):
        report = run(landing, warehouse, platform)
        assert "tables.messages: the row with the key (" in report.problems[0]
        assert report.totals["messages"].accepted == 0
        assert report.totals["recipients"].accepted + report.totals["recipients"].duplicate > 0
    platform.execute("delete from nmsbroadlogmsg where ibroadlogmsgid = 4 and ifailurereason = 5")
    assert run(landing, warehouse, platform).totals["messages"].accepted == 119


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:hunter2secret@h/d", "postgresql://u:hunter2secret@h:port/d", "postgresql://u:hunter2%secret@h/d",
        "postgresql://u:hunter2/secret@h/d", "postgresql://u:1/hunter2secret@h/d", "postgresql://u:hunter2@secret@h/d",
        "hunter2secret",
    ],
)  # fmt: skip
def test_a_url_that_is_none_is_never_shown(url: str) -> None:
    with pytest.raises(IngestError) as refused:
        PlatformSource.load(url)
    assert "hunter2" not in str(refused.value) and "MTW_REFERENCE_URL" in str(refused.value)


# -- the command


def test_a_run_tells_and_hides_what_it_should(platform: Database, landing: Path, warehouse: Path) -> None:
    """With a small dbt project: models are not the point."""
    logs(landing, "a/0x0000000000000010.log", line(16))
    reader = platform.new_user("command", PASSWORD)
    platform.execute("grant select on all tables in schema public to command")
    wrong = Database(reader.port, reader.name, reader.user, "another " + PASSWORD)

    def command(database: Database, *arguments: str) -> Any:
        settings = {"MTW_REFERENCE_URL": database.url, "MTW_DBT_PROJECT_DIR": str(SMALL_PROJECT)}
        return mtw(*arguments, landing=landing, warehouse=warehouse, settings=settings)

    done = command(reader, "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"messages +1 +1 ", done.stdout), done.stdout
    assert "warning" not in done.stdout

    logs(landing, "a/0x0000000000000011.log", line(17))
    warned = command(wrong, "run")
    assert warned.returncode == 0, warned.stdout + warned.stderr
    assert "! check warning: landed/batches: platform_database_was_read: postgresql: the platform's" in warned.stdout
    assert "password authentication failed" in warned.stdout
    assert "version 000002" in warned.stdout, "the logs are published all the same"
    refused = command(wrong, "doctor")
    assert refused.returncode == 1 and "password authentication failed" in refused.stdout

    outputs = [part for result in (done, warned, refused) for part in (result.stdout, result.stderr)]
    files = [path for path in warehouse.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any(path.suffix == ".db" for path in files), "Dagster's event log is among them"
    secrets = {PASSWORD, reader.url, wrong.url, reader.url.split("@")[0].rpartition(":")[2]}
    for secret in secrets:
        assert all(secret not in output for output in outputs)
        for path in files:
            assert secret.encode() not in path.read_bytes(), path
    for path in (*(warehouse / "published").rglob("*.parquet"), *(warehouse / "landed").rglob("*.parquet")):
        for hidden in (reader.name, "127.0.0.1"):
            assert hidden.encode() not in path.read_bytes(), path
    platform.execute("drop owned by command", "drop user command")


def test_full_reference_without_a_database_is_wrong_usage(landing: Path, warehouse: Path) -> None:
    refused = mtw("run", "--full-reference", landing=landing, warehouse=warehouse)
    assert refused.returncode == 2 and "MTW_REFERENCE_URL" in refused.stderr


def test_memory_is_bounded_whatever_the_table(
    platform: Database, landing: Path, warehouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No block holds more than its share, and batches are committed on the way."""
    platform.execute(
        "insert into nmsrecipient select i, repeat('é', 60), '', '', '', 0, 0, 0, now(), now() - interval '1 day'"
        " from generate_series(100000, 108000) as i"
    )
    monkeypatch.setattr(platform_database, "BLOCK_BYTES", 20_000)
    monkeypatch.setattr(take_tables, "BATCH_BYTES", 200_000)
    sizes: list[int] = []

    class Watcher(NullProgress):
        def advance(self, source: str, bytes: int, lines: int, files: int) -> None:
            if source == "recipients":
                sizes.append(bytes)

    report = run(landing, warehouse, platform, progress=Watcher())
    assert report.totals["recipients"].accepted == 8_001 + campaign.RECIPIENTS - 1
    assert len(sizes) > 50 and max(sizes) < 21_000
    with Ledger(warehouse / LEDGER_NAME, read_only=True) as ledger:
        assert sum(batch["source"] == "recipients" for batch in ledger.batches()) > 5


def test_an_erased_recipients_rows_are_suppressed_once(platform: Database, landing: Path, warehouse: Path) -> None:
    """They stay in the platform's tables, and every full pass reads them again: nothing of them is landed."""
    insert(platform, "nmsrecipient", [
        {"irecipientid": 4711, "semail": "robin@erased.example", "sfirstname": "Robinetta", "slastname": "Hoodwink",
         "slanguage": "fr", "iblacklist": 0, "iblacklistemail": 0, "iemailformat": 1,
         "tscreated": "2025-12-31 23:59:59.5", "tslastmodified": campaign.START}
    ])  # fmt: skip
    insert(platform, "nmsbroadlogrcp", [message(900_001, irecipientid=4711, saddress="robin@erased.example")])
    run(landing, warehouse, platform)
    words = {"robin@erased.example", "Robinetta", "900001"}
    assert places_of(warehouse, words)
    erase(warehouse, [4711], run_id="erasure")
    assert places_of(warehouse, words) == []
    before = {entity: landed_rows(warehouse, entity) for entity in ("recipients", "messages")}
    report = run(landing, warehouse, platform, is_full=True)
    assert {name: total.suppressed for name, total in report.totals.items() if total.suppressed} == {
        "recipients": 1, "messages": 1
    }  # fmt: skip
    again = run(landing, warehouse, platform, is_full=True)
    assert not any(total.suppressed for total in again.totals.values()), "counted once"
    # A new message to her, and one that says something else now.
    insert(platform, "nmsbroadlogrcp", [message(900_002, irecipientid=4711, saddress="robin@erased.example")])
    platform.execute(
        f"update nmsrecipient set sfirstname = 'Robinetta2', tslastmodified = '{now()}' where irecipientid = 4711"
    )
    report = run(landing, warehouse, platform, is_full=True)
    assert (report.totals["messages"].suppressed, report.totals["recipients"].suppressed) == (1, 1)
    assert "1 messages to erased recipients" in report.problems[0]
    assert {entity: landed_rows(warehouse, entity) for entity in before} == before
    assert places_of(warehouse, words | {"900002", "Robinetta2"}) == []
    assert_accounted(warehouse)
