"""What is published names nobody: masks, the file of clear values beside it, and that every use of both goes on."""

import contextlib
import re
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pytest

from log_ingest.sqltext import identifier, literal
from log_ingest.suppression import Key
from orchestration import identifiers, row_changes
from orchestration.build_state import build_digest, hidden_digest
from orchestration.identifiers import (
    HIDDEN,
    LINK,
    PSEUDONYM,
    RECIPIENT,
    MaskedColumn,
    MaskError,
    Masks,
    cleared,
    former_version,
    load_key,
    masked_columns,
    of_published,
)
from orchestration.lineage import VALUE, Edge
from orchestration.publication import Publication
from orchestration.publish import publish
from orchestration.row_changes import RowWise
from orchestration.settings import Settings, SettingsError
from orchestration.verify import IDENTITIES
from tests.conftest import Demo, mtw
from tests.invariants import landed

FACT = ("core", "fct_tracking_events")
# What in a text could be an address, a visitor id or an IP address, also where it is part of a link.
TOKENS = r"[0-9a-z._+\-]+@[0-9a-z.\-]+|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f\-]{22}|[0-9a-f.:]{7,}"


@pytest.fixture
def identified(demo: Demo) -> Iterator[duckdb.DuckDBPyConnection]:
    """In a connection, `named`: every identifier that the landed rows hold, in lower case."""
    with duckdb.connect() as con:
        rows = {
            source: landed(demo.warehouse, source)
            for source in ("tracking_logs", "access_logs", "recipients", "messages", "esp_events")
        }
        con.execute(f"""
            create temp table named as
            select distinct lower(word) as word from (
                select visitor_id as word from {rows["tracking_logs"]}
                union all select visitor_id from {rows["access_logs"]}
                union all select ip from {rows["tracking_logs"]}
                union all select split_part(ip, ',', 1) from {rows["access_logs"]}
                union all select email from {rows["recipients"]}
                union all select first_name || ' ' || last_name from {rows["recipients"]}
                union all select address from {rows["messages"]}
                union all select address from {rows["esp_events"]}
            ) where length(word) > 5
        """)
        assert con.execute("select count(*) from named").fetchall()[0][0] > 10_000
        yield con


def named_in(con: duckdb.DuckDBPyConnection, relation: str) -> set[str]:
    """Columns of a relation in which an identifier is, whole or as a part of a longer text."""
    found = set()
    for column, kind, *_ in con.execute(f"describe select * from {relation}").fetchall():
        if "VARCHAR" not in kind and "BLOB" not in kind:
            continue
        texts = f"select distinct lower(cast({identifier(column)} as varchar)) as t from {relation}"
        hits = con.execute(
            f"with texts as ({texts} union select lower(try(url_decode(t))) from ({texts}))"
            f" select count(*) from (select t as word from texts union all"
            f" select unnest(regexp_extract_all(t, {literal(TOKENS)})) from texts) semi join named using (word)"
        ).fetchall()
        found |= {column} if hits[0][0] else set()
    return found


def tables(con: duckdb.DuckDBPyConnection, path: Path, name: str) -> list[str]:
    con.execute(f"attach {literal(str(path))} as {name} (read_only)")
    return [
        f"{name}.{identifier(schema)}.{identifier(table)}"
        for schema, table in con.execute(
            "select schema_name, table_name from duckdb_tables() where database_name = ?", [name]
        ).fetchall()
    ]


def test_no_identifier_is_published(demo: Demo, identified: duckdb.DuckDBPyConnection) -> None:
    folder = demo.published.parent
    parquet = [f"read_parquet({literal(str(path))})" for path in sorted(folder.rglob("*.parquet"))]
    relations = [*tables(identified, demo.published, "marts"), *parquet]
    assert len(relations) > 140
    assert {relation: found for relation in relations if (found := named_in(identified, relation))} == {}
    # The search finds what there is to be found.
    clear = {
        (relation.replace('"', ""), column)
        for relation in tables(identified, folder / "identities.duckdb", "identities")
        for column in named_in(identified, relation)
    }
    assert clear >= {
        ("identities.core.dim_recipients", "email"),
        ("identities.core.dim_recipients", "recipient_label"),
        ("identities.main.pseudonyms", "clear_value"),
    }
    # Also within a longer text.
    assert "line" in named_in(identified, landed(demo.warehouse, "esp_events"))
    # Also not where no column shows it.
    words = {word for (word,) in identified.execute("select word from named").fetchall()}
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "identities.duckdb":
            data = path.read_bytes().lower()
            tokens = {found.decode() for found in re.findall(TOKENS.encode(), data)}
            assert not tokens & words, path


def test_clear_values_join_back_exactly(demo: Demo) -> None:
    """Rows with their masks undone are those of the working database, and masks tell as many apart as values."""
    working = demo.warehouse / "work" / "warehouse.duckdb"
    with duckdb.connect() as con:
        tables(con, demo.published, "marts")
        tables(con, demo.published.with_name("identities.duckdb"), "identities")
        tables(con, working, "warehouse")
        con.execute("use warehouse")
        masked = of_published(con, "marts")
        assert len({column.table for column in masked}) > 10
        for table in sorted({column.table for column in masked}):
            name = ".".join(table)
            left = {column.column for column in masked if column.table == table and not column.kept_by}
            left -= {column.column for column in masked if column.table == table and column.mask == PSEUDONYM}
            kept = f"* exclude ({', '.join(left)})" if left else "*"
            for one, other in (("clear", "told"), ("told", "clear")):
                con.execute(
                    f"create or replace temp table differing as with told as (select {kept} from warehouse.{name}),"
                    f" clear as (select {kept} from ({cleared(table, masked, 'marts', 'identities')}))"
                    f" from {one} except all from {other}"
                )
                assert con.execute("select count(*) from differing").fetchall() == [(0,)], (name, one)
            for column in (each for each in masked if each.table == table and each.mask == PSEUDONYM):
                count = f"select count(distinct {column.column}), count({column.column}) from"
                assert con.execute(f"{count} marts.{name}").fetchall() == con.execute(f"{count} {name}").fetchall()


def test_they_are_the_owners_alone(demo: Demo) -> None:
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in (demo.published, demo.published.with_name("identities.duckdb"), demo.warehouse / "pseudonym.key")
    }
    assert modes == {"marts.duckdb": 0o440, "identities.duckdb": 0o400, "pseudonym.key": 0o600}


def test_a_masked_column_says_so(demo: Demo) -> None:
    comments = demo.query(
        "select comment from duckdb_columns() where table_name = 'fct_tracking_events' and column_name = 'visitor_id'"
    )
    assert comments[0][0].endswith("Masked: a keyed digest of it, the same wherever it is the same.")


def test_verify_compares_masks_and_clear_values(demo: Demo, tmp_path: Path) -> None:
    """The sample, built again from the landed bytes: equal but for the two values that were changed."""
    warehouse = tmp_path / "warehouse"
    shutil.copytree(demo.warehouse, warehouse, symlinks=True)
    folder = (warehouse / "published" / "current").resolve()
    for name, change in (
        ("marts", "update core.fct_clicks set visitor_id = md5(visitor_id) where event_key = (select min(event_key)"
         " from core.fct_clicks where visitor_id is not null)"),
        ("identities", "update core.dim_recipients set email = 'x' where recipient_id = (select min(recipient_id)"
         " from core.dim_recipients)"),
    ):  # fmt: skip
        path = folder / f"{name}.duckdb"
        path.chmod(0o600)
        with contextlib.closing(duckdb.connect(str(path))) as con:
            assert con.execute(change).fetchall() == [(1,)]
    done = mtw("verify", landing=demo.landing, warehouse=warehouse)
    assert done.returncode == 1, done.stdout + done.stderr
    differing = {line.split()[0] for line in done.stdout.splitlines() if line.rstrip().endswith("DIFFERS")}
    assert differing == {"core.fct_clicks", f"{IDENTITIES}.core.dim_recipients"}, done.stdout
    assert sum(line.rstrip().endswith(" equal") for line in done.stdout.splitlines()) > 60
    # Differing rows are named by their keys, not by whom they tell.
    assert re.search(
        r"identities.core.dim_recipients: only rebuilt: recipient_id=[0-9]+\s*$", done.stdout, re.MULTILINE
    )


# -- on a handful of rows


KEY = Key(b"k" * 32)
MASKED = [
    MaskedColumn(FACT, "visitor_id", PSEUDONYM, ("visitor_id",)),
    MaskedColumn(FACT, "params", HIDDEN, ("event_key",)),
    MaskedColumn(("core", "persons"), "person_key", PSEUDONYM),
    MaskedColumn(("core", "names"), "recipient_label", RECIPIENT, ("recipient_id",)),
    MaskedColumn(("core", "names"), "url", LINK, ("recipient_id",)),
    MaskedColumn(("core", "gone"), "email", HIDDEN),
]


@pytest.fixture
def working(tmp_path: Path) -> Path:
    path = tmp_path / "warehouse" / "work" / "warehouse.duckdb"
    path.parent.mkdir(parents=True)
    with contextlib.closing(duckdb.connect(str(path))) as con:
        for statement in (
            "create schema core",
            "create table core.fct_tracking_events (event_key varchar, delivery_id bigint, visitor_id varchar,"
            " params varchar, occurred_at timestamp, ingested_at timestamp)",
            "insert into core.fct_tracking_events values ('a', 1, 'ann', 'p1=Ann', null, null),"
            " ('b', 1, 'ann', null, null, null), ('c', 1, 'bob', '', null, null), ('d', 1, '', null, null, null),"
            " ('e', 1, null, null, null, null)",
            "create view core.persons as select distinct coalesce(visitor_id, 'recipient 1') as person_key"
            " from core.fct_tracking_events",
            "create table core.dim_tracked_urls as select 1::bigint as delivery_id, 2::bigint as url_id,"
            " 'https://x/$(p1)' as source_url",
            "create table core.names as select * from (values (7, 1, 2, 'Ann Lee', 'https://x/Ann'),"
            f" (8, 1, 3, null, null), ({2**52}, 1, 2, 'erased recipient', 'https://x/$(p1)'))"
            " as t (recipient_id, delivery_id, url_id, recipient_label, url)",
        ):
            con.execute(statement)
    return path


def published(
    working: Path, *, masked: bool = True, group: bool = False, row_wise: Sequence[RowWise] = ()
) -> Publication:
    folder = working.parents[1] / "published"
    return publish(
        working, folder, run_id="run", batch_id=1, build_digest="digest", row_wise=row_wise,
        masked=sorted(MASKED, key=lambda each: each.row) if masked else (), key=KEY if masked else None,
        mode=0o444, group_reads_identities=group,
    )  # fmt: skip


def rows(path: Path, sql: str) -> list[tuple]:
    with contextlib.closing(duckdb.connect(str(path), read_only=True)) as con:
        return con.execute(sql).fetchall()


def test_what_a_mask_makes_of_values(working: Path) -> None:
    version = working.parents[1] / "published" / "versions" / published(working).label
    marts, identities = version / "marts.duckdb", version / "identities.duckdb"
    ann, bob, nobody = (KEY.mark("person", name)[1] for name in ("ann", "bob", "recipient 1"))
    assert rows(marts, "select event_key, visitor_id, params from core.fct_tracking_events order by event_key") == [
        ("a", ann, None), ("b", ann, None), ("c", bob, None), ("d", "", None), ("e", None, None),
    ]  # fmt: skip
    # A value that the kept column does not have is digested as well.
    assert {row[0] for row in rows(marts, "select person_key from core.persons")} == {ann, bob, "", nobody}
    assert rows(marts, "select recipient_label, url from core.names order by recipient_id") == [
        ("recipient 7", "https://x/$(p1)"), ("recipient 8", None), ("erased recipient", "https://x/$(p1)"),
    ]  # fmt: skip
    kinds = "select data_type from duckdb_columns() where column_name in ('params', 'visitor_id') order by all"
    assert rows(marts, kinds) == [("VARCHAR",)] * 2
    assert rows(identities, "select * from core.fct_tracking_events order by all") == [("a", "p1=Ann"), ("c", "")]
    assert rows(identities, "select * from core.names") == [(7, "Ann Lee", "https://x/Ann"), (8, None, None)]
    assert sorted(rows(identities, "from pseudonyms")) == sorted([(ann, "ann"), (bob, "bob")])
    assert (stat.S_IMODE(marts.stat().st_mode), stat.S_IMODE(identities.stat().st_mode)) == (0o444, 0o400)
    assert len(rows(marts, "from meta.masked_columns")) == 5
    groups = version.parent / published(working, group=True).label / "identities.duckdb"
    assert stat.S_IMODE(groups.stat().st_mode) == 0o440


def build_again(working: Path, run_number: int, *statements: str) -> None:
    """A further run of the models, which these statements are."""
    with contextlib.closing(duckdb.connect(str(working))) as con:
        con.execute(f"update state.run_window set run_number = {run_number}, invocation_id = 'i{run_number}'")
        con.execute("insert into state.runs from state.run_window")
        for statement in statements:
            con.execute(statement)


@pytest.mark.parametrize("known_at_once", [identifiers.KNOWN_AT_ONCE, 1])
def test_who_came_and_who_went_is_told_by_the_rows_that_changed(
    working: Path, monkeypatch: pytest.MonkeyPatch, known_at_once: int
) -> None:
    monkeypatch.setattr(row_changes, "MOST", 2)
    monkeypatch.setattr(identifiers, "KNOWN_AT_ONCE", known_at_once)
    followed = [RowWise(FACT, "event_key", {"events": "event_key"})]
    with contextlib.closing(duckdb.connect(str(working))) as con:
        for statement in (
            "create schema state",
            "create table state.run_window as select 1 as run_number, 'i1' as invocation_id",
            "create table state.runs as from state.run_window",
            "create table state.model_marks as select 'events' as model, 1 as rebuilt_run",
            "create table state.rewritten_rows (model varchar, row_key varchar, run_number bigint)",
        ):
            con.execute(statement)
    published(working, row_wise=followed)
    build_again(
        working,
        2,
        # Of Ann one row is left, of Bob none.
        "update core.fct_tracking_events set visitor_id = 'carl', params = 'p1=Carl' where event_key = 'b'",
        "delete from core.fct_tracking_events where event_key = 'c'",
        "insert into core.fct_tracking_events (event_key, visitor_id) values ('f', 'carl'), ('g', '')",
        "insert into state.rewritten_rows select 'events', key, 2 from unnest(['b', 'c', 'f', 'g']) as t (key)",
    )
    made = published(working, row_wise=followed)
    assert made.added == 1
    version = working.parents[1] / "published" / "versions" / made.label
    ann, carl = (KEY.mark("person", name)[1] for name in ("ann", "carl"))
    assert sorted(rows(version / "identities.duckdb", "from pseudonyms")) == sorted([(ann, "ann"), (carl, "carl")])
    assert rows(version / "identities.duckdb", "from core.fct_tracking_events order by all") == [
        ("a", "p1=Ann"), ("b", "p1=Carl"),
    ]  # fmt: skip
    events = rows(version / "marts.duckdb", "select event_key, visitor_id from core.fct_tracking_events")
    assert sorted(events, key=str) == [
        ("a", ann), ("b", carl), ("d", ""), ("e", None), ("f", carl), ("g", ""),
    ]  # fmt: skip
    # Rows that escaped the record: the table is copied as a whole, and so is what the file keeps of it.
    build_again(
        working,
        3,
        "delete from core.fct_tracking_events where event_key = 'a'",
        "insert into core.fct_tracking_events (event_key, visitor_id) values ('h', 'dora'), ('i', 'dora')",
        "insert into state.rewritten_rows values ('events', 'g', 3)",
    )
    made = published(working, row_wise=followed)
    assert made.added == 2
    version = working.parents[1] / "published" / "versions" / made.label
    dora = KEY.mark("person", "dora")[1]
    assert sorted(rows(version / "identities.duckdb", "from pseudonyms")) == sorted([(carl, "carl"), (dora, "dora")])
    assert rows(version / "identities.duckdb", "from core.fct_tracking_events") == [("b", "p1=Carl")]
    assert rows(version / "marts.duckdb", "select count(*) from core.fct_tracking_events") == [(7,)]


def test_clear_values_are_published_where_they_are_wanted(working: Path) -> None:
    version = working.parents[1] / "published" / "versions" / published(working, masked=False).label
    assert rows(version / "marts.duckdb", "select max(visitor_id), max(params) from core.fct_tracking_events") == [
        ("bob", "p1=Ann")
    ]
    assert not (version / "identities.duckdb").exists()
    places = {"MTW_LANDING_DIR": "/nowhere/l", "MTW_WAREHOUSE_DIR": "/nowhere/w"}
    load = {
        text: Settings.load(places | {"MTW_PUBLISHED_IDENTIFIERS": text}, dotenv=Path("/nowhere"))
        for text in ("", "masked", "group", "clear")
    }
    assert [load[text].publishes_clear for text in load] == [False, False, False, True]
    assert load["clear"].environment()["MTW_PUBLISHED_IDENTIFIERS"] == "clear"
    digests = {build_digest(load[text]) for text in load}
    assert len(digests) == 3, "another setting publishes anew"
    assert len({hidden_digest(load[text]) for text in load}) == 1, "and builds nothing anew"
    with pytest.raises(SettingsError, match="MTW_PUBLISHED_IDENTIFIERS is 'no'; set it to masked"):
        Settings.load(places | {"MTW_PUBLISHED_IDENTIFIERS": "no"}, dotenv=Path("/nowhere"))


@pytest.mark.parametrize("was_masked", [True, False])
def test_versions_are_compared_across_the_setting(working: Path, was_masked: bool) -> None:
    """Else every event would seem to have changed its visitor."""
    former = working.parents[1] / "published" / "versions" / published(working, masked=was_masked).label
    with duckdb.connect() as con:
        con.execute(f"attach {literal(str(working))} as warehouse (read_only)")
        masks = Masks(con, "warehouse", () if was_masked else MASKED, KEY)
        with former_version(con, former / "marts.duckdb", masks):
            for column in ("event_key, visitor_id", "params"):
                con.execute("use warehouse")
                now = con.execute(f"select {column} from ({masks.selected(FACT)}) order by all").fetchall()
                con.execute("use former")
                assert con.execute(f"select {column} from core.fct_tracking_events order by all").fetchall() == now
            con.execute("use memory")
        assert con.execute("select count(*) from duckdb_databases() where database_name like 'former%'").fetchall() == [
            (0,)
        ]


def test_the_key_is_made_once(tmp_path: Path) -> None:
    assert load_key(tmp_path).mark("person", "ann") == load_key(tmp_path).mark("person", "ann")
    assert (tmp_path / "pseudonym.key").stat().st_mode & 0o777 == 0o600


def node(table: str, **columns: dict) -> dict:
    entries = {name: {"data_type": "varchar", "config": {"meta": meta}} for name, meta in columns.items()}
    return {"resource_type": "model", "schema": "core", "name": table, "columns": entries}


def told(*nodes: dict, keys: dict | None = None) -> tuple[list[MaskedColumn], list[str]]:
    """Of models of core that read landed.people.email into their column who."""
    edges = [Edge(("core", each["name"]), "who", ("landed", "people"), "email", VALUE) for each in nodes]
    manifest = {"nodes": {each["name"]: each for each in nodes}}
    return masked_columns(manifest, keys or {}, ("core",), edges, [(("landed", "people"), "email")])


def test_what_says_nothing_is_hidden() -> None:
    columns, silent = told(
        node("silent", who={}), node("said", who={"masked": PSEUDONYM, "personal": "because"}),
        node("clean", who={"sanitised": "because"}),
    )  # fmt: skip
    assert columns == [
        MaskedColumn(("core", "said"), "who", PSEUDONYM), MaskedColumn(("core", "silent"), "who", HIDDEN),
    ]  # fmt: skip
    assert silent == ["core.silent.who"]


@pytest.mark.parametrize(
    ("meta", "reason"),
    [
        ({"masked": "star"}, "core.t.who: masked is 'star'; write one of hidden, pseudonym"),
        ({"masked": LINK}, "core.t.who cannot be masked as link: its model has no delivery_id, url_id"),
        ({"masked": HIDDEN, "kept": True}, "core.t.who cannot be kept: no test or meta says"),
    ],
)
def test_a_mask_that_cannot_be_made_is_refused(meta: dict, reason: str) -> None:
    with pytest.raises(MaskError, match=re.escape(reason)):
        told(node("t", who=meta))
