"""Column lineage of SQL models: which columns a column is made of, and which conditions choose its rows.

Belongs here: reading SELECT statements with sqlglot, and walking the result. Does not: where the SQL comes from
(model_sql), what it is shown as (explain). Knows neither dbt nor a database.

An edge leads from a column of a model to a column that it reads directly, and says how:

    value       row by row: the value is copied or computed from it
    aggregate   many rows become one: inside an aggregate or window function
    rows        it decides which rows count: a filter, a join, a grouping; `condition` is its text
    formula     the same row's other column: the numerator of a rate, the part of a difference
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import cast

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope
from sqlglot.schema import MappingSchema

VALUE, AGGREGATE, ROWS, FORMULA = "value", "aggregate", "rows", "formula"
_STRENGTH = {VALUE: 0, AGGREGATE: 1, ROWS: 2}
_LONGEST_CONDITION = 300
_LONGEST_INLINED = 100

Table = tuple[str, str]
"""Schema and name."""


@dataclass(frozen=True)
class Relation:
    """Something with columns. sql: a model's SELECT, which names others as schema.name; empty: rows from outside."""

    schema: str
    name: str
    sql: str = ""
    columns: tuple[str, ...] = ()
    """Needed where there is no SQL."""

    @property
    def table(self) -> Table:
        return self.schema, self.name


@dataclass(frozen=True)
class Edge:
    """One column of a model and one column that it reads: see the module."""

    table: Table
    column: str
    source: Table
    source_column: str
    use: str
    condition: str = ""


@dataclass
class Lineage:
    """Edges by (table, column); columns by table; and the models whose SQL could not be read, with the reason."""

    edges: dict[tuple[Table, str], list[Edge]] = field(default_factory=dict)
    columns: dict[Table, tuple[str, ...]] = field(default_factory=dict)
    unreadable: dict[Table, str] = field(default_factory=dict)

    def all_edges(self) -> Iterator[Edge]:
        for edges in self.edges.values():
            yield from edges


def column_lineage(relations: Iterable[Relation], dialect: str = "duckdb") -> Lineage:
    """The direct lineage of every column of every relation. The order of relations does not matter."""
    found = Lineage()
    schema = MappingSchema(dialect=dialect, normalize=True)
    parsed: dict[Table, tuple[exp.Expr, set[Table]]] = {}
    for relation in relations:
        if not relation.sql:
            _know(found, schema, relation.table, relation.columns)
            continue
        try:
            tree = cast(exp.Expr, sqlglot.parse_one(relation.sql, dialect=dialect))
        except (SqlglotError, RecursionError) as error:
            found.unreadable[relation.table] = _first_line(error)
            continue
        parsed[relation.table] = tree, {(table.db, table.name) for table in tree.find_all(exp.Table) if table.db}
    for table in _in_order(parsed):
        try:
            reader = _Reader(table, parsed[table][0], schema, dialect)
        except (SqlglotError, RecursionError, KeyError) as error:
            found.unreadable[table] = _first_line(error)
            continue
        _know(found, schema, table, reader.outputs)
        for column in reader.outputs:
            found.edges[table, column] = reader.edges(column)
    return found


def upstream(
    edges: Mapping[tuple[Table, str], Sequence[Edge]], table: Table, column: str
) -> list[tuple[Edge, str, int]]:
    """Every edge on the way from a column down to where rows come from: (edge, use, depth), nearest first.

    use: of the column's own edges, theirs; of those further below, ROWS where every way to them leads through a choice
    of rows below the column's own model, else VALUE or AGGREGATE.
    """
    best: dict[tuple[Table, str], int] = {}
    found: dict[Edge, tuple[int, int]] = {}
    queue: list[tuple[tuple[Table, str], int, int]] = [((table, column), 0, 0)]
    while queue:
        here, strength, depth = queue.pop(0)
        for edge in edges.get(here, ()):
            if edge.use == FORMULA:
                continue
            own = _STRENGTH[edge.use]
            reached = max(strength, own) if depth else 0
            known = found.get(edge)
            if known is None or known[0] > reached:
                found[edge] = reached if depth else own, known[1] if known else depth
            target = edge.source, edge.source_column
            if best.get(target, len(_STRENGTH)) > reached:
                best[target] = reached
                queue.append((target, reached, depth + 1))
    return [(edge, _name(strength), depth) for edge, (strength, depth) in sorted(found.items(), key=lambda i: i[1][1])]


def digest_text(sql: str, dialect: str = "duckdb") -> str:
    """The statement without comments and layout: equal for statements that say the same in the same way."""
    try:
        return sqlglot.parse_one(sql, dialect=dialect).sql(dialect=dialect, comments=False)
    except (SqlglotError, RecursionError):
        return sql


@dataclass(frozen=True)
class _Leaf:
    """A column of another relation, as read somewhere inside the statement."""

    source: Table
    column: str
    use: str
    condition: str = ""

    def within(self, use: str, condition: str = "") -> "_Leaf":
        stronger = self.use if _STRENGTH[self.use] >= _STRENGTH[use] else use
        return _Leaf(self.source, self.column, stronger, self.condition or (condition if stronger == ROWS else ""))


class _Reader:
    """The lineage of one statement. Scopes are read once; what a column of a scope is made of is kept."""

    def __init__(self, table: Table, tree: exp.Expr, schema: MappingSchema, dialect: str) -> None:
        self._table, self._dialect = table, dialect
        qualified = qualify(
            tree,
            schema=schema,
            dialect=dialect,
            validate_qualify_columns=False,
            allow_partial_qualification=True,
            quote_identifiers=False,
        )
        scope = build_scope(qualified)
        if scope is None:
            raise SqlglotError("not a SELECT statement")
        self._root = scope
        self._kept: dict[tuple[int, str], tuple[_Leaf, ...]] = {}
        self._inlined_columns: dict[tuple[int, str], exp.Expr] = {}
        self.outputs = tuple(expression.alias_or_name for expression in qualified.selects)  # type: ignore[attr-defined]

    def edges(self, column: str) -> list[Edge]:
        leaves = dict.fromkeys(self._leaves(self._root, column))
        found = [Edge(self._table, column, leaf.source, leaf.column, leaf.use, leaf.condition) for leaf in leaves]
        siblings = [Edge(self._table, column, self._table, other, FORMULA) for other in sorted(self._siblings(column))]
        return sorted(found, key=lambda edge: (_STRENGTH[edge.use], edge.source, edge.source_column)) + siblings

    # -- what a column of a scope is made of

    def _leaves(self, scope: Scope, column: str) -> tuple[_Leaf, ...]:
        key = id(scope), column
        if key not in self._kept:
            self._kept[key] = ()  # a recursive CTE reads itself: nothing more to find there
            found: list[_Leaf] = []
            for branch, projection in _projections(scope, column):
                found += self._of_projection(branch, projection)
            self._kept[key] = tuple(dict.fromkeys(found))
        return self._kept[key]

    def _of_projection(self, scope: Scope, projection: exp.Expr) -> Iterator[_Leaf]:
        yield from self._of_expression(scope, projection)
        used = {column.table for column in projection.find_all(exp.Column)}
        yield from self._of_conditions(scope, used)

    def _of_expression(self, scope: Scope, expression: exp.Expr) -> Iterator[_Leaf]:
        nested = {id(inner.expression): inner for inner in scope.subquery_scopes}
        for node in expression.walk(prune=lambda part: id(part) in nested):
            if id(node) in nested:
                inner = nested[id(node)]
                for name in _query(inner).named_selects:
                    yield from self._leaves(inner, name)
            elif isinstance(node, exp.Column):
                use, condition = self._use(scope, node, expression)
                for leaf in self._of_column(scope, node):
                    yield leaf.within(use, condition)

    def _of_column(self, scope: Scope, column: exp.Column) -> Iterator[_Leaf]:
        source = _source_of(scope, column.table)
        if isinstance(source, Scope):
            yield from self._leaves(source, column.name)
        elif isinstance(source, exp.Table) and source.db:
            yield _Leaf((source.db, source.name), column.name, VALUE)

    def _use(self, scope: Scope, column: exp.Column, within: exp.Expr) -> tuple[str, str]:
        node: exp.Expr | None = column
        use = VALUE
        while node is not None and node is not within.parent:
            parent = node.parent
            if isinstance(parent, exp.Filter) and parent.expression is node:
                return ROWS, self._text(scope, parent.expression.this)
            if isinstance(node, exp.AggFunc | exp.Window):
                use = AGGREGATE
            node = parent
        return use, ""

    def _of_conditions(self, scope: Scope, used: set[str]) -> Iterator[_Leaf]:
        """What decides which rows a scope has, and which rows of a left-joined source its columns `used` come from."""
        select = scope.expression
        if not isinstance(select, exp.Select):
            return
        conditions: list[exp.Expr] = []
        for name in ("where", "having", "qualify"):
            clause = select.args.get(name)
            if clause is not None:
                conditions += clause.this.flatten() if isinstance(clause.this, exp.And) else [clause.this]
        for join in select.args.get("joins") or ():
            on = join.args.get("on")
            if on is not None and (join.side not in ("LEFT", "FULL") or join.alias_or_name in used):
                conditions.append(on)
        if select.args.get("group") is not None:
            conditions.append(select.args["group"])
        for condition in conditions:
            text = self._text(scope, condition)
            for leaf in self._of_expression(scope, condition):
                yield _Leaf(leaf.source, leaf.column, ROWS, leaf.condition or text)
        if used:
            return
        for _, source in scope.selected_sources.values():
            # count(*) reads no column: which rows there are was decided below.
            if isinstance(source, Scope):
                for branch in _branches(source):
                    yield from self._of_conditions(branch, set())

    # -- texts of conditions, in the words of the relations read

    def _text(self, scope: Scope, expression: exp.Expr) -> str:
        copy = expression.copy()
        tables = set()
        for original, column in zip(_columns(expression), _columns(copy), strict=True):
            inlined = self._inlined(scope, original)
            tables |= {part.table for part in _columns(inlined)}
            if column is copy:
                copy = inlined
            else:
                column.replace(inlined)
        if len(tables) == 1:
            for column in _columns(copy):
                column.set("table", None)
        copy = copy.transform(_as_written)
        text = copy.sql(dialect=self._dialect, comments=False, normalize_functions="lower").strip()
        text = text.replace("GROUP BY", "group by")
        return text if len(text) <= _LONGEST_CONDITION else text[: _LONGEST_CONDITION - 1] + "…"

    def _inlined(self, scope: Scope, column: exp.Column) -> exp.Expr:
        """The column as the relations below name it: through CTEs, and through short expressions there."""
        source = _source_of(scope, column.table)
        if isinstance(source, exp.Table):
            return exp.column(column.name, table=source.name)
        bare = exp.column(column.name)
        parts = _projections(source, column.name) if source is not None else []
        if len(parts) != 1:
            return bare
        key = id(source), column.name
        if key not in self._inlined_columns:
            self._inlined_columns[key] = bare
            branch, inner = parts[0][0], parts[0][1].unalias().copy()
            for original, part in zip(_columns(parts[0][1].unalias()), _columns(inner), strict=True):
                replacement = self._inlined(branch, original)
                if part is inner:
                    inner = replacement
                else:
                    part.replace(replacement)
            if len(inner.sql()) <= _LONGEST_INLINED:
                simple = isinstance(inner, exp.Column | exp.Func | exp.Literal)
                self._inlined_columns[key] = inner if simple else exp.paren(inner, copy=False)
        return self._inlined_columns[key].copy()

    # -- formulas

    def _siblings(self, column: str) -> set[str]:
        """Other outputs that the column is computed from, row by row.

        A relation that is joined twice hands on two outputs from one place: meant is the one under the same aliases, or
        else the only one there is.
        """
        places: dict[tuple[int, str], dict[str, tuple[str, ...]]] = {}
        for output in self.outputs:
            if output != column:
                for source_id, name, way in self._chain(output):
                    places.setdefault((source_id, name), {}).setdefault(output, way)
        own = {(source_id, name) for source_id, name, _ in self._chain(column)}
        found: set[str] = set()
        queue: list[tuple[Scope, str, tuple[str, ...]]] = [(self._root, column, ())]
        seen: set[tuple[str, int, str]] = set()
        while queue:
            scope, name, here = queue.pop()
            for branch, projection in _projections(scope, name):
                if projection.find(exp.AggFunc, exp.Window, exp.Subquery):
                    continue
                for part in projection.find_all(exp.Column):
                    source = _source_of(branch, part.table)
                    place = (id(source), part.name)
                    further = (*here, part.table)
                    if place in places and place not in own:
                        alike = {output: _in_common(way, further) for output, way in places[place].items()}
                        found.add(max(alike, key=alike.__getitem__))
                    elif isinstance(source, Scope) and (further[0], *place) not in seen:
                        seen.add((further[0], *place))
                        queue.append((source, part.name, further))
        return found

    def _chain(self, column: str) -> Iterator[tuple[int, str, tuple[str, ...]]]:
        """The places from which an output is handed on unchanged, with the aliases that lead there. A number in another
        type is the same number.
        """
        scope, name = self._root, column
        way: tuple[str, ...] = ()
        while True:
            parts = _projections(scope, name)
            inner = _same_number(parts[0][1].unalias()) if len(parts) == 1 else None
            if not isinstance(inner, exp.Column):
                return
            source = _source_of(parts[0][0], inner.table)
            way = (*way, inner.table)
            yield id(source), inner.name, way
            if not isinstance(source, Scope):
                return
            scope, name = source, inner.name


def _same_number(expression: exp.Expr) -> exp.Expr:
    """What is cast to a number, where it is; else the expression. A day is not the time that it is made of, and what
    is only tried may be nothing."""
    while type(expression) is exp.Cast and expression.is_type(*exp.DataType.NUMERIC_TYPES):
        expression = expression.this
    return expression


def _in_common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many of their first elements are the same."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _projections(scope: Scope, column: str) -> list[tuple[Scope, exp.Expr]]:
    """The expressions that a column of a scope stands for: one, or one of each branch of a UNION."""
    names = _query(scope).named_selects
    if column not in names:
        return []
    position = names.index(column)
    return [
        (branch, _query(branch).selects[position])
        for branch in _branches(scope)
        if position < len(_query(branch).selects)
    ]


def _query(scope: Scope) -> exp.Query:
    return cast(exp.Query, scope.expression)


def _branches(scope: Scope) -> list[Scope]:
    if isinstance(scope.expression, exp.SetOperation):
        return [branch for inner in scope.set_operation_scopes or () for branch in _branches(inner)]
    return [scope]


def _source_of(scope: Scope, alias: str) -> Scope | exp.Table | None:
    inner: Scope | None = scope
    while inner is not None:
        if alias in inner.sources:
            return cast("Scope | exp.Table", inner.sources[alias])
        inner = inner.parent  # a correlated subquery names the query around it
    return None


def _columns(expression: exp.Expr) -> list[exp.Column]:
    return list(expression.find_all(exp.Column))


def _as_written(node: exp.Expr) -> exp.Expr:
    """sqlglot writes casts into bool_or and bool_and, where nobody wrote them."""
    if isinstance(node, exp.LogicalOr | exp.LogicalAnd):
        return exp.Anonymous(this="bool_or" if isinstance(node, exp.LogicalOr) else "bool_and", expressions=[node.this])
    return node


def _in_order(parsed: Mapping[Table, tuple[exp.Expr, set[Table]]]) -> list[Table]:
    """Models after those that they read."""
    done: dict[Table, None] = {}
    visiting: set[Table] = set()

    def visit(table: Table) -> None:
        if table in done or table in visiting or table not in parsed:
            return
        visiting.add(table)
        for source in sorted(parsed[table][1]):
            visit(source)
        done[table] = None

    for table in parsed:
        visit(table)
    return list(done)


def _know(found: Lineage, schema: MappingSchema, table: Table, columns: Sequence[str]) -> None:
    found.columns[table] = tuple(columns)
    schema.add_table(exp.table_(table[1], db=table[0]), dict.fromkeys(columns, "unknown"), match_depth=False)


def _name(strength: int) -> str:
    return next(name for name, value in _STRENGTH.items() if value == strength)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
