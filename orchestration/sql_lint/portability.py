"""Functions and idioms that DuckDB and Spark read differently.

Belongs here: the list of what means the same on both, and the idioms that do not though both accept them. Does not: the
text of dispatched macros, which is another for each engine and is left out (DISPATCHED marks it).

Source: what was tried on both engines. A function outside SAME_ON_BOTH is not known to be wrong; it is not known to be
right. It goes into a dispatched macro of macros/dialect/, or, tried on both engines, into the list.
"""

import re
from collections.abc import Iterator

import sqlglot
from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.tokens import Token, TokenType

BEGIN, END = "/*<dispatched*/", "/*dispatched>*/"
"""Comments around the text of a dispatched macro."""

_FUNCTIONS = """
    abs any_value avg bool_and bool_or cast ceil coalesce concat_ws count count_if dense_rank exp extract
    first_value floor greatest instr lag last_value lead least left length ln lower lpad ltrim max max_by md5 median
    min min_by nullif percent_rank percentile_cont rank repeat replace right row_number rpad rtrim sign split_part
    sqrt substr substring sum trim try_cast upper date_trunc
"""
SAME_ON_BOTH = frozenset(_FUNCTIONS.split())

# Words before a parenthesis that are no functions.
_WORDS = """
    all and any as between by case cross distinct else end except exists filter from full group having if in inner
    intersect interval is join lateral left like limit not null on or order over partition qualify range recursive right
    rows select then union using values when where window with within
"""
_SYNTAX = frozenset(_WORDS.split()) - SAME_ON_BOTH
_ROUNDED = (exp.Round, exp.Floor, exp.Ceil, exp.Trunc, exp.IntDiv)
_TEMPORAL = re.compile(r"_(at|on|day|date)$")


class NullsSmall(DuckDB):
    """DuckDB, but NULL sorts first in ascending order unless the text says otherwise: tells whether it does."""

    NULL_ORDERING = "nulls_are_small"


def findings(sql: str) -> Iterator[tuple[str, int, str]]:
    """(rule, line, what is wrong) of one compiled model. Raises SqlglotError where the text cannot be read."""
    skipped = dispatched_ranges(sql)
    tokens = [token for token in DuckDB().tokenize(sql) if not _within(token.start, skipped)]
    yield from _functions(tokens)
    yield from _texts(tokens)
    yield from _idioms(sql, skipped)


def dispatched_ranges(sql: str) -> list[tuple[int, int]]:
    """Begin and end of the outermost pieces of text that dispatched macros made."""
    found: list[tuple[int, int]] = []
    depth = start = 0
    for match in re.finditer(f"{re.escape(BEGIN)}|{re.escape(END)}", sql):
        if match[0] == BEGIN:
            start = start if depth else match.start()
            depth += 1
        else:
            depth -= 1
            if depth == 0:
                found.append((start, match.end()))
    return found


def _functions(tokens: list[Token]) -> Iterator[tuple[str, int, str]]:
    for before, token, after in zip([None, *tokens], tokens, [*tokens[1:], None], strict=False):
        if after is None or after.token_type != TokenType.L_PAREN or not re.fullmatch(r"[A-Za-z_]\w*", token.text):
            continue
        name = token.text.lower()
        is_alias = before is not None and (before.text.lower() == "as" or before.token_type == TokenType.DOT)
        # A CTE is a name, AS and a parenthesis; `order`, `in` and their like are words of the language.
        if token.token_type == TokenType.STRING or is_alias or name in _SYNTAX or name in SAME_ON_BOTH:
            continue
        yield "function", token.line, f"{name}() is not known to be the same on both engines"


def _texts(tokens: list[Token]) -> Iterator[tuple[str, int, str]]:
    for token in tokens:
        if token.token_type == TokenType.STRING and "\\" in token.text:
            yield "backslash", token.line, "a backslash in a text is itself in DuckDB and an escape in Spark"
        elif token.text == "//":
            yield "integer-division", token.line, "// is integer division in DuckDB only: use integer_divide()"


def _idioms(sql: str, skipped: list[tuple[int, int]]) -> Iterator[tuple[str, int, str]]:
    tree = sqlglot.parse_one(sql, dialect="duckdb")
    for node in tree.walk():
        rule = _idiom(node)
        if rule is None:
            continue
        place = _place(node)
        if place is None or not _within(place[0], skipped):
            yield rule[0], place[1] if place else 0, rule[1]
    yield from _null_orders(sql, skipped)


def _idiom(node: exp.Expr) -> tuple[str, str] | None:
    text = node.sql(dialect="duckdb", comments=False)[:80] if isinstance(node, _LOOKED_AT) else ""
    if isinstance(node, exp.Cast) and node.to.is_type(*exp.DataType.INTEGER_TYPES) and _has_fraction(node.this):
        return "cast-to-integer", f"{text}: DuckDB rounds, Spark cuts off; say floor() or ceil() first"
    if isinstance(node, exp.Extract) and "DOW" in node.name.upper():
        return "day-of-week", f"{text}: the engines count the days of the week from different days"
    if isinstance(node, exp.Sub) and _is_temporal(node.this) and _is_temporal(node.expression):
        return "date-difference", f"{text}: a number in DuckDB, an interval in Spark; use epoch_microseconds()"
    if isinstance(node, exp.Div) and not (_is_double(node.this) or _is_double(node.expression)):
        return "division", f"{text}: decimals are divided differently; cast one side to double, or use ratio()"
    if isinstance(node, exp.Avg) and not _is_double(node.this):
        return "average", f"{text}: the average of decimals differs; cast to double"
    if isinstance(node, exp.Bracket) and not isinstance(node.parent, exp.Bracket):
        return "subscript", f"{text}: lists count from 1 in DuckDB, from 0 in Spark"
    if isinstance(node, exp.Struct | exp.Map | exp.Array | exp.Lambda):
        return "nested-type", f"{text}: literals of lists, structs and lambdas are written differently"
    if isinstance(node, exp.Order) and isinstance(node.parent, exp.Func) and not isinstance(node.parent, exp.Window):
        return "ordered-aggregate", f"{text} inside an aggregate is DuckDB's only"
    if isinstance(node, exp.Distinct) and node.args.get("on") is not None:
        return "distinct-on", "distinct on is DuckDB's only: use row_number()"
    if isinstance(node, exp.Star) and (node.args.get("except_") or node.args.get("except") or node.args.get("replace")):
        return "star-except", "a star with exclusions is written differently: name the columns"
    return None


_LOOKED_AT = (
    *(exp.Cast, exp.Extract, exp.Sub, exp.Div, exp.Avg, exp.Bracket),
    *(exp.Struct, exp.Map, exp.Array, exp.Lambda, exp.Order),
)


def _null_orders(sql: str, skipped: list[tuple[int, int]]) -> Iterator[tuple[str, int, str]]:
    """Ascending orders that leave the place of NULL to the engine: last in DuckDB, first in Spark. In descending order
    both put it last."""
    plain_tree, small_tree = (sqlglot.parse_one(sql, dialect=dialect) for dialect in (DuckDB, NullsSmall))
    for plain, small in zip(plain_tree.find_all(exp.Ordered), small_tree.find_all(exp.Ordered), strict=True):
        is_silent = bool(plain.args.get("nulls_first")) != bool(small.args.get("nulls_first"))
        place = _place(plain)
        if not is_silent or plain.args.get("desc") or _is_never_null(plain.this):
            continue
        if place is None or not _within(place[0], skipped):
            text = plain.this.sql(dialect="duckdb", comments=False)[:60]
            yield "null-order", place[1] if place else 0, f"order by {text}: say nulls first or nulls last"


def _is_never_null(node: exp.Expr) -> bool:
    """A CASE of literals that has an ELSE."""
    if not isinstance(node, exp.Case) or node.args.get("default") is None:
        return False
    results = [branch.args["true"] for branch in node.args["ifs"]] + [node.args["default"]]
    return all(isinstance(result, exp.Literal) for result in results)


def _has_fraction(node: exp.Expr) -> bool:
    if isinstance(node, _ROUNDED):
        return False
    if isinstance(node, exp.Div | exp.Avg | exp.PercentileCont | exp.Median) or _is_double(node):
        return True
    if isinstance(node, exp.Literal):
        return not node.is_string and not node.is_int
    if isinstance(node, exp.Count | exp.Filter):
        return isinstance(node, exp.Filter) and _has_fraction(node.this)
    return any(_has_fraction(child) for child in node.iter_expressions())


def _is_double(node: exp.Expr | None) -> bool:
    node = node.unnest() if node is not None else None
    if isinstance(node, exp.Neg | exp.Mul | exp.Div | exp.Add | exp.Sub):
        return _is_double(node.this) or _is_double(node.args.get("expression"))
    return isinstance(node, exp.Cast) and node.to.is_type("double", "float")


def _is_temporal(node: exp.Expr) -> bool:
    node = node.unnest()
    if isinstance(node, exp.Cast):
        return node.to.is_type(*exp.DataType.TEMPORAL_TYPES)
    if isinstance(node, exp.Min | exp.Max | exp.TimestampTrunc | exp.DateTrunc):
        return _is_temporal(node.this)
    return isinstance(node, exp.Column) and _TEMPORAL.search(node.name) is not None


def _place(node: exp.Expr) -> tuple[int, int] | None:
    """Offset and line of the first word of it that has one: operators have none of their own."""
    for part in node.walk():
        if "start" in part.meta:
            return part.meta["start"], part.meta["line"]
    return None


def _within(place: int, ranges: list[tuple[int, int]]) -> bool:
    return any(begin <= place < end for begin, end in ranges)
