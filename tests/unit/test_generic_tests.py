"""The project's own dbt tests find what they are for, and nothing else."""

import re
from importlib.resources import files
from pathlib import Path
from random import Random

import duckdb
import jinja2
import pytest

from tests.marts import PROJECT

ROWS = "(values (1, 'a', 10), (1, 'b', 20), (2, 'a', 30))"


HASHES = ("hash({columns})", "0 * hash({columns})")
"""Of rows that come once none has the other's number; or all have the same one."""


def found_rows(name: str, rows: str, *arguments: object, **named: object) -> list[tuple]:
    """What a generic test of the project gives for a relation with the columns x, y, z, whatever their hashes."""
    text = (PROJECT / "tests" / "generic" / f"{name}.sql").read_text(encoding="utf-8")
    text = re.sub(r"\{%(-?) (end)?test\b", r"{%\1 \2macro", text)
    answers = []
    for form in HASHES:
        environment = jinja2.Environment(trim_blocks=False)
        environment.globals["row_hash"] = lambda columns, form=form: form.format(columns=", ".join(columns))
        template = environment.from_string(text)
        query = getattr(template.module, name)(f"(select * from {rows} as t (x, y, z))", *arguments, **named)
        answers.append(duckdb.execute(str(query)).fetchall())
    first, second = answers
    assert sorted(first, key=repr) == sorted(second, key=repr)
    return first


def found(name: str, rows: str, *arguments: object, **named: object) -> int:
    return len(found_rows(name, rows, *arguments, **named))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (ROWS, 0),
        (ROWS.replace("(1, 'b'", "(1, 'a'"), 1),
        (ROWS.replace("(1, 'b'", "(1, null"), 1),
        (ROWS.replace("30", "null"), 1),
        ("(values (1, 'a', 10), (null, null, null), (null, null, 1), (1, 'a', 3))", 4),
        ("(select 1, 'a', 1 where false)", 0),
    ],
)
def test_a_grain_has_no_repeated_and_no_missing_key(rows: str, expected: int) -> None:
    """Of rows that have neither: each counts, and a key that is NULL twice is repeated, too."""
    assert found("grain", rows, ["x", "y"], never_null=["z"]) == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (ROWS.replace("(1, 'b'", "(1, null"), 0),
        ("(values (1, null, 1), (1, null, 2))", 1),
        ("(values (null, 'a', 1), (1, 'a', 2))", 1),
    ],
)
def test_where_null_is_a_value_it_comes_once(rows: str, expected: int) -> None:
    assert found("grain", rows, ["x", "y"], may_be_null=["y"]) == expected


def test_a_row_that_lacks_something_is_told_by_what_it_lacks() -> None:
    rows = ROWS.replace("(1, 'b', 20)", "(1, null, null)")
    assert found_rows("grain", rows, ["x", "y"], never_null=["z"]) == [(1, None, "y, z", 1)]


def test_where_everything_may_be_null_repetition_alone_is_wrong() -> None:
    rows = "(values (null, 'a', 1), (1, 'a', 2), (null, 'b', 3))"
    assert found("grain", rows, ["x"], may_be_null=["x"]) == 1
    assert found("grain", rows, ["x", "y"], may_be_null=["x", "y"]) == 0


def test_never_null_looks_at_all_columns() -> None:
    assert found("never_null", ROWS, ["x", "y", "z"]) == 0
    assert found("never_null", ROWS.replace("(2, 'a'", "(2, null"), ["x", "y", "z"]) == 1


def test_a_row_without_its_partner_is_found_as_dbt_finds_it() -> None:
    """dbt's own SQL is the peer, over any mixture of values, repetitions and NULL on both sides."""
    theirs = Path(str(files("dbt.include.global_project"))) / "macros" / "generic_test_sql" / "relationships.sql"
    ours = PROJECT / "macros" / "dialect" / "test_relationships.sql"
    random = Random(7)
    failures = 0
    for _ in range(60):
        sides = [[random.choice([*range(6), None]) for _ in range(random.randrange(8))] for _ in range(2)]
        child, parent = (f"(select unnest({values}::integer[]) as n)" for values in map(_as_list, sides))
        found = []
        for path, name in ((theirs, "default__test_relationships"), (ours, "duckdb__test_relationships")):
            macro = getattr(jinja2.Environment().from_string(path.read_text(encoding="utf-8")).module, name)
            found.append(sorted(duckdb.execute(str(macro(child, "n", parent, "n"))).fetchall()))
        assert found[0] == found[1], sides
        failures += len(found[0])
    assert failures > 50


def test_a_partner_without_the_column_is_an_error() -> None:
    """Not the row's own column of that name, with which every row would have its partner."""
    ours = (PROJECT / "macros" / "dialect" / "test_relationships.sql").read_text(encoding="utf-8")
    macro = jinja2.Environment().from_string(ours).module.duckdb__test_relationships
    with pytest.raises(duckdb.BinderException):
        duckdb.execute(str(macro("(select 1 as n)", "n", "(select 2 as other)", "n")))


def _as_list(values: list[int | None]) -> str:
    return f"[{', '.join('null' if value is None else str(value) for value in values)}]"
