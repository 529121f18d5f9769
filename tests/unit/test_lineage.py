"""Column lineage: what a column is read from, how, and what decides its rows."""

import pytest

from orchestration.lineage import FORMULA, ROWS, Edge, Relation, column_lineage, digest_text, upstream

RAW = Relation("landed", "lines", columns=("id", "kind", "amount", "parent_id", "at"))
OTHER = Relation("landed", "names", columns=("id", "name"))


def read(sql: str, column: str, *more: Relation) -> dict[tuple[str, str], set[str]]:
    """Uses by (source table, column) of one column of a model with this SQL."""
    found = column_lineage([Relation("m", "model", sql), RAW, OTHER, *more])
    assert found.unreadable == {}
    result: dict[tuple[str, str], set[str]] = {}
    for edge in found.edges[("m", "model"), column]:
        result.setdefault((edge.source[1], edge.source_column), set()).add(edge.use)
    return result


def conditions(sql: str, column: str) -> set[str]:
    found = column_lineage([Relation("m", "model", sql), RAW, OTHER])
    return {edge.condition for edge in found.edges[("m", "model"), column] if edge.use == ROWS}


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select amount as c from landed.lines", {("lines", "amount"): {"value"}}),
        (
            "select amount + coalesce(id, 0) as c from landed.lines",
            {("lines", "amount"): {"value"}, ("lines", "id"): {"value"}},
        ),
        ("with t as (select * from landed.lines) select t.amount as c from t", {("lines", "amount"): {"value"}}),
        ("select sum(amount) as c from landed.lines", {("lines", "amount"): {"aggregate"}}),
        (
            "select row_number() over (partition by kind order by at) as c from landed.lines",
            {("lines", "kind"): {"aggregate"}, ("lines", "at"): {"aggregate"}},
        ),
        ("select count(*) filter (where kind = 1) as c from landed.lines", {("lines", "kind"): {"rows"}}),
        (
            "select amount as c from landed.lines where kind = 1",
            {("lines", "amount"): {"value"}, ("lines", "kind"): {"rows"}},
        ),
        (
            "select amount as c from landed.lines union all select id from landed.names",
            {("lines", "amount"): {"value"}, ("names", "id"): {"value"}},
        ),
        (
            "select (select max(n.name) from landed.names as n where n.id = l.id) as c from landed.lines as l",
            {("names", "name"): {"aggregate"}, ("names", "id"): {"rows"}, ("lines", "id"): {"rows"}},
        ),
    ],
)
def test_what_a_column_is_made_of(sql, expected):
    assert read(sql, "c") == expected


def test_a_left_join_matters_to_the_columns_that_come_from_it():
    sql = "select l.amount as own, n.name as joined from landed.lines as l left join landed.names as n on l.id = n.id"
    assert read(sql, "own") == {("lines", "amount"): {"value"}}
    assert read(sql, "joined") == {("names", "name"): {"value"}, ("names", "id"): {"rows"}, ("lines", "id"): {"rows"}}


def test_an_inner_join_decides_the_rows_of_every_column():
    sql = "select l.amount as own from landed.lines as l inner join landed.names as n on l.id = n.id"
    assert read(sql, "own")["names", "id"] == {"rows"}


def test_a_count_of_rows_is_made_of_what_chose_them():
    sql = """
        with clicks as (select parent_id from landed.lines where kind = 1 group by parent_id)
        select count(*) as c from clicks
    """
    assert read(sql, "c") == {("lines", "kind"): {"rows"}, ("lines", "parent_id"): {"rows"}}
    assert conditions(sql, "c") == {"kind = 1", "group by parent_id"}


def test_conditions_are_told_in_the_words_of_what_is_read():
    sql = """
        with messages as (select parent_id, bool_or(kind = 1) as has_click from landed.lines group by parent_id)
        select count(*) filter (where has_click) as c from messages
    """
    assert "bool_or(kind = 1)" in conditions(sql, "c")


def test_a_rate_is_a_formula_of_the_other_columns_of_its_row():
    sql = """
        with counts as (
            select kind, coalesce(sum(amount), 0) as amount_sum, count(*) as line_count from landed.lines group by kind
        )
        select kind, amount_sum, line_count, cast(amount_sum as double) / nullif(line_count, 0) as rate from counts
    """
    found = column_lineage([Relation("m", "model", sql), RAW])
    formula = {
        column: {edge.source_column for edge in found.edges[("m", "model"), column] if edge.use == FORMULA}
        for column in ("amount_sum", "line_count", "rate")
    }
    assert formula == {"amount_sum": set(), "line_count": set(), "rate": {"amount_sum", "line_count"}}


@pytest.mark.parametrize(
    ("handed_on", "expected"),
    [
        pytest.param("cast(amount_sum as decimal(38, 4))", {"amount_sum", "line_count"}, id="another type of number"),
        pytest.param("try_cast(amount_sum as decimal(38, 4))", {"line_count"}, id="tried"),
        pytest.param("cast(amount_sum as date)", {"line_count"}, id="no number"),
    ],
)
def test_a_number_in_another_type_is_the_same_number(handed_on, expected):
    sql = f"""
        with counts as (select sum(amount) as amount_sum, count(*) as line_count from landed.lines)
        select {handed_on} as amount_sum, line_count, amount_sum / line_count as rate from counts
    """
    found = column_lineage([Relation("m", "model", sql), RAW])
    assert {edge.source_column for edge in found.edges[("m", "model"), "rate"] if edge.use == FORMULA} == expected


TWICE = """
    with counted as (select kind, sum(amount) as amount_sum, count(*) as line_count from landed.lines group by kind),
    measured as (select *, amount_sum / line_count as rate from counted)
    select one.amount_sum, one.line_count, next.amount_sum as next_amount_sum,
        next.line_count as next_line_count, {rates}
    from measured as one inner join measured as next on one.kind = next.kind + 1
"""


@pytest.mark.parametrize(
    ("rates", "column", "expected"),
    [
        ("one.rate, next.rate as next_rate", "rate", {"amount_sum", "line_count"}),
        ("one.rate, next.rate as next_rate", "next_rate", {"next_amount_sum", "next_line_count"}),
        (
            "next.rate - one.rate as difference",
            "difference",
            {"amount_sum", "line_count", "next_amount_sum", "next_line_count"},
        ),
    ],
)
def test_a_relation_that_is_joined_twice_has_a_formula_for_each_of_its_two_rows(rates, column, expected):
    found = column_lineage([Relation("m", "model", TWICE.format(rates=rates)), RAW])
    assert {edge.source_column for edge in found.edges[("m", "model"), column] if edge.use == FORMULA} == expected


def test_a_relation_that_reads_itself_comes_to_an_end():
    sql = """
        with recursive step as (
            select id, id as first_id, id + 1 as after from landed.lines
            union all
            select step.id + 1, step.first_id, step.after + step.id from step where step.id < 9
        )
        select id, first_id, after, after - id as distance from step
    """
    found = column_lineage([Relation("m", "model", sql), RAW])
    formula = {edge.source_column for edge in found.edges[("m", "model"), "distance"] if edge.use == FORMULA}
    assert formula == {"after", "id"}


def test_a_share_of_the_whole_is_no_formula_of_the_whole():
    sql = """
        with counts as (select kind, count(*) as line_count from landed.lines group by kind),
        total as (select sum(line_count) as line_count from counts)
        select counts.kind, counts.line_count, counts.line_count / total.line_count as share
        from counts cross join total
    """
    found = column_lineage([Relation("m", "model", sql), RAW])
    (edge,) = (edge for edge in found.edges[("m", "model"), "share"] if edge.use == FORMULA)
    assert edge.source_column == "line_count"


def test_models_may_come_in_any_order_and_the_way_leads_to_the_source():
    models = [
        Relation("m", "mart", "select total from m.middle"),
        Relation("m", "middle", "select sum(value) as total from s.staged where is_wanted"),
        Relation("s", "staged", "select amount as value, kind = 1 as is_wanted from landed.lines"),
        RAW,
    ]
    found = column_lineage(models)
    way = upstream(found.edges, ("m", "mart"), "total")
    assert [(edge.source[1], edge.source_column, use, depth) for edge, use, depth in way] == [
        ("middle", "total", "value", 0),
        ("staged", "value", "aggregate", 1),
        ("staged", "is_wanted", "rows", 1),
        ("lines", "amount", "aggregate", 2),
        ("lines", "kind", "rows", 2),
    ]


def test_what_cannot_be_read_costs_only_itself():
    found = column_lineage(
        [Relation("m", "broken", "select from where ("), Relation("m", "good", "select id from landed.lines"), RAW]
    )
    assert list(found.unreadable) == [("m", "broken")]
    assert found.edges[("m", "good"), "id"] == [Edge(("m", "good"), "id", ("landed", "lines"), "id", "value")]


def test_a_model_that_reads_itself_ends():
    sql = (
        "with recursive t as (select id from landed.lines union all select id + 1 from t where id < 9) select id from t"
    )
    assert ("lines", "id") in read(sql, "id")


def test_digests_ignore_comments_and_layout_and_nothing_else():
    one, same, other = "select a -- why\nfrom t", "SELECT  a FROM t", "select a from t where a"
    assert digest_text(one) == digest_text(same) != digest_text(other)
