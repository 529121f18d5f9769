"""The SQL lint: each rule on SQL that breaks it, and on SQL that looks like it and does not."""

import pytest
import sqlglot
from sqlglot import exp
from sqlglot.schema import MappingSchema

from orchestration.lineage import Relation, column_lineage
from orchestration.sql_lint import joins, personal, portability
from orchestration.sql_lint.keys import query_keys

TABLES = {
    "events": ("event_id", "delivery_id", "message_id", "at", "amount", "kind"),
    "deliveries": ("delivery_id", "label", "target_count"),
    "messages": ("message_id", "delivery_id", "address"),
}
DECLARED = {
    ("m", "events"): [frozenset({"event_id"})],
    ("m", "deliveries"): [frozenset({"delivery_id"})],
    ("m", "messages"): [frozenset({"message_id"})],
}


def rules(sql: str) -> set[str]:
    return {rule for rule, _, _ in portability.findings(sql)}


def read(sql: str):
    schema = MappingSchema(dialect="duckdb", normalize=True)
    for name, columns in TABLES.items():
        schema.add_table(exp.table_(name, db="m"), dict.fromkeys(columns, "unknown"), match_depth=False)
    return query_keys(sqlglot.parse_one(sql, dialect="duckdb"), schema, DECLARED)


@pytest.mark.parametrize(
    ("rule", "wrong", "right"),
    [
        ("function", "select strftime(a, '%d') as b from t", "select date_trunc('day', a) as b from t"),
        ("function", "select arg_max(a, b) as c from t", "select max_by(a, b) as c from t"),
        ("function", "select regexp_matches(a, 'x') as b from t", "select instr(a, 'x') > 0 as b from t"),
        ("function", "select dayofweek(a) as b from t", "select a in (1, 2) as b from t"),
        ("function", "select concat(a, b) as c from t", "select a || b as c from t"),
        ("integer-division", "select a // 2 as b from t", "select floor(cast(a as double) / 2) as b from t"),
        ("backslash", r"select replace(a, '\d', '') as b from t", "select replace(a, '[0-9]', '') as b from t"),
        (
            "cast-to-integer",
            "select cast(cast(a as double) / 2 as bigint) as b from t",
            "select cast(floor(cast(a as double) / 2) as bigint) as b from t",
        ),
        ("cast-to-integer", "select cast(1.7 as int) as b from t", "select cast('17' as int) as b from t"),
        (
            "cast-to-integer",
            "select cast(avg(cast(a as double)) as int) as b from t",
            "select cast(count(*) as int) from t",
        ),
        ("day-of-week", "select extract(dow from a) as b from t", "select extract(year from a) as b from t"),
        ("date-difference", "select sent_on - opened_on as b from t", "select sent_count - open_count as b from t"),
        ("division", "select a / b as c from t", "select cast(a as double) / nullif(b, 0) as c from t"),
        ("average", "select avg(a) as b from t", "select avg(cast(a as double)) as b from t"),
        ("subscript", "select a[1] as b from t", "select split_part(a, ',', 1) as b from t"),
        ("nested-type", "select [1, 2] as b from t", "select 1 in (1, 2) as b from t"),
        ("ordered-aggregate", "select min(a order by b nulls last) as c from t", "select min_by(a, b) as c from t"),
        ("distinct-on", "select distinct on (a) a, b from t", "select distinct a, b from t"),
        ("star-except", "select * exclude (a) from t", "select * from t"),
        ("null-order", "select a from t order by a", "select a from t order by a nulls last"),
        ("null-order", "select row_number() over (order by a asc) as b from t", "select a from t order by a desc"),
        (
            "null-order",
            "select a from t order by b, a nulls first",
            "select a from t order by case when b then 1 else 2 end",
        ),
    ],
)
def test_what_the_engines_read_differently(rule: str, wrong: str, right: str) -> None:
    assert rule in rules(wrong)
    assert rules(right) == set()


def test_the_text_of_a_dispatched_macro_is_left_out_and_nothing_else() -> None:
    marked = f"{portability.BEGIN}time_bucket(interval '5 minutes', a[1] // 2){portability.END}"
    assert rules(f"select {marked} as b from t") == set()
    assert rules(f"select {marked} as b, strftime(a, '%d') as c from t") == {"function"}


@pytest.mark.parametrize(
    ("sql", "key"),
    [
        ("select event_id as e, kind from m.events", {"e"}),
        ("select delivery_id, kind, count(*) as c from m.events group by delivery_id, kind", {"delivery_id", "kind"}),
        ("select distinct delivery_id, kind from m.events", {"delivery_id", "kind"}),
        ("select count(*) as c from m.events", set()),
        (
            "with n as (select *, row_number() over (partition by message_id order by at) as age from m.events)"
            " select message_id, kind from n where age = 1",
            {"message_id"},
        ),
        (
            "select e.event_id, d.label from m.events as e"
            " inner join m.deliveries as d on e.delivery_id = d.delivery_id",
            {"event_id"},
        ),
        (
            "select coalesce(d.delivery_id, c.delivery_id) as delivery_id from m.deliveries as d full outer join"
            " (select delivery_id, count(*) as n from m.events group by delivery_id) as c"
            " on d.delivery_id = c.delivery_id",
            {"delivery_id"},
        ),
        (
            "select event_id, 'a' as part from m.events union all select message_id, 'b' as part from m.messages",
            {"event_id", "part"},
        ),
    ],
)
def test_which_columns_tell_rows_apart(sql: str, key: set[str]) -> None:
    assert frozenset(key) in read(sql).keys


def test_a_union_without_a_word_of_its_part_has_no_key() -> None:
    assert read("select event_id from m.events union all select message_id from m.messages").keys == set()


def test_a_list_taken_apart_multiplies_its_row() -> None:
    assert read("select event_id, unnest([1, 2]) as n from m.events").keys == set()


# Per SQL: what is multiplied, or nothing.
@pytest.mark.parametrize(
    ("sql", "harmed"),
    [
        (  # Every event meets all messages of its delivery.
            "select e.event_id from m.events as e inner join m.messages as g on e.delivery_id = g.delivery_id",
            ["rows"],
        ),
        (
            "select count(*) as c from m.events as e inner join m.messages as g on e.delivery_id = g.delivery_id",
            ["COUNT(*)"],
        ),
        (  # The target of a delivery once for each of its events.
            "select sum(d.target_count) as s from m.deliveries as d"
            " inner join m.events as e on d.delivery_id = e.delivery_id",
            ["SUM(d.target_count)"],
        ),
        (
            "select sum(e.amount) as s from m.deliveries as d"
            " inner join m.events as e on d.delivery_id = e.delivery_id",
            [],
        ),
        (
            "select max(d.target_count) as s from m.deliveries as d"
            " inner join m.events as e on d.delivery_id = e.delivery_id",
            [],
        ),
        (
            "select count(distinct d.delivery_id) as s from m.deliveries as d"
            " inner join m.events as e on d.delivery_id = e.delivery_id",
            [],
        ),
        (
            "select distinct e.kind from m.events as e inner join m.messages as g on e.delivery_id = g.delivery_id",
            [],
        ),
        (  # Each event with what came before it in its delivery: of the one side nothing is summed.
            "select e.event_id, sum(b.amount) as before from m.events as e inner join m.events as b"
            " on e.delivery_id = b.delivery_id and e.at > b.at group by e.event_id",
            [],
        ),
        ("select e.event_id from m.events as e inner join m.messages as g on e.message_id = g.message_id", []),
        (
            "select e.event_id from m.events as e where exists"
            " (select 1 from m.messages as g where g.delivery_id = e.delivery_id)",
            [],
        ),
    ],
)
def test_joins_that_multiply_what_is_counted(sql: str, harmed: list[str]) -> None:
    assert [found.counted for found in read(sql).fan_outs] == harmed


def test_a_join_may_say_that_it_fans_out() -> None:
    sql = """select e.event_id
from m.events as e
{}
inner join m.messages as g
    on e.delivery_id = g.delivery_id"""
    silent, said = sql.format("-- Messages."), sql.format("-- Fans out: candidates,\n-- of which one is taken.")
    assert [rule for rule, *_ in joins.multiplied(silent, read(silent).fan_outs)] == ["fan-out"]
    assert list(joins.multiplied(said, read(said).fan_outs)) == []


def test_a_mart_names_its_columns() -> None:
    assert [rule for rule, *_ in joins.stars("select * from m.events")] == ["star"]
    assert [rule for rule, *_ in joins.stars("select e.*, 1 as one from m.events as e")] == ["star"]
    assert list(joins.stars("with e as (select * from m.events) select event_id, count(*) as c from e")) == []


PEOPLE = Relation("landed", "people", columns=("person_id", "email", "joined_at"))


def told(sql: str, declared: dict | None = None, *, below: str = "") -> set[tuple[str, str]]:
    """(rule, column) of a report with this SQL over landed people, through a model `i.below` where given."""
    models = [PEOPLE, Relation("reports", "r", sql)] + ([Relation("i", "below", below)] if below else [])
    found = column_lineage(models)
    assert found.unreadable == {}
    nodes = {("reports", "r"): {}, ("i", "below"): {}} | (declared or {})
    personal_fields = [(("landed", "people"), "email")]
    return {
        (rule, message.split()[0]) for _, rule, message in personal.reached(found.all_edges(), personal_fields, nodes)
    }


def meta(column: str, **entry: str) -> dict:
    return {"columns": {column: {"config": {"meta": entry}}}}


def test_a_personal_field_is_followed_to_the_report() -> None:
    assert told("select person_id, email from landed.people") == {("personal-column", "email")}
    assert told("select person_id, joined_at from landed.people") == set()
    below = "select person_id, lower(email) as who from landed.people"
    assert told("select max(who) as last_one from i.below", below=below) == {("personal-column", "last_one")}
    hashed = "select md5(email) as k from landed.people"
    assert told(hashed) == {("personal-column", "k")}


def test_what_is_declared_ends_the_way() -> None:
    sql = "select split_part(email, '@', 2) as domain from landed.people"
    assert told(sql, {("reports", "r"): meta("domain", sanitised="no part of a person")}) == set()
    shown = meta("domain", personal="shown on purpose", masked="hidden")
    assert told(sql, {("reports", "r"): shown}) == set()
    assert told(sql, {("reports", "r"): meta("domain", personal="but how")}) == {("personal-column", "domain")}
    assert told(sql, {("reports", "r"): meta("other", sanitised="another column")}) == {("personal-column", "domain")}


def test_a_number_made_of_a_personal_field_is_none() -> None:
    counted = {("reports", "r"): {"columns": {"people": {"data_type": "bigint"}}}}
    assert told("select count(distinct email) as people from landed.people", counted) == set()


def test_a_filter_by_a_personal_field_is_told_wherever_it_stands() -> None:
    sql = "select person_id from landed.people where email like 'a%'"
    assert told(sql) == {("personal-filter", "email")}
    said = {("reports", "r"): {"config": {"meta": {"personal_filters": {"email": "because"}}}}}
    assert told(sql, said) == set()
    below = "select person_id from landed.people where email = 'x'"
    assert told("select person_id from i.below", below=below) == {("personal-filter", "email")}
