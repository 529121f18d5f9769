"""Which columns tell the rows of a query apart, and which of its joins multiply rows.

Belongs here: reading a query's joins, groupings, filters and unions. Does not: what is declared of tables (project), or
which finding is an author's intention (joins). What cannot be found out counts as not unique: a finding asks.

A join multiplies rows where the columns that it fixes hold no key of what is joined. That harms nobody where the rows
are made distinct, or grouped with aggregates that a repeated row does not change; nor one-to-many, unless something of
the one side is summed; nor where the grouping holds a key of the one side, and only the other is summed.

A key is a set of columns of which no two rows have all values in common. The empty key: at most one row.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import cast

from sqlglot import exp
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope
from sqlglot.schema import MappingSchema

Key = frozenset[str]
Table = tuple[str, str]
"""Schema and name."""

_MOST_KEYS = 24

Place = tuple[str, str]
"""Alias of a source of the query, and a column of it."""

PlaceKey = frozenset[Place]


@dataclass(frozen=True)
class FanOut:
    """A join that multiplies rows, of which something is then counted or kept. right: alias of what is joined; by: its
    columns that the join fixes; line: of the compiled SQL, 0 where unknown; counted: what a multiplied row changes."""

    right: str
    by: tuple[str, ...]
    line: int
    counted: str


@dataclass
class QueryKeys:
    """keys of the result, and the joins anywhere in the query that multiply rows."""

    keys: set[Key] = field(default_factory=set)
    fan_outs: list[FanOut] = field(default_factory=list)


@dataclass(frozen=True)
class _Sides:
    """What is known at a join that multiplies rows: the sources before it, their keys, the columns of the joined source
    that are fixed, and whether each joined row meets one row before it at most."""

    left: frozenset[str]
    left_keys: frozenset[PlaceKey]
    by_right: set[Place]
    is_one_to_many: bool


def query_keys(tree: exp.Expr, schema: MappingSchema, declared: Mapping[Table, Iterable[Key]]) -> QueryKeys:
    """Of a SELECT whose tables `schema` knows; declared: keys of those tables. Raises SqlglotError."""
    qualified = qualify(
        tree,
        schema=schema,
        dialect="duckdb",
        validate_qualify_columns=False,
        allow_partial_qualification=True,
        quote_identifiers=False,
    )
    root = build_scope(qualified)
    found = QueryKeys()
    if root is not None:
        found.keys = _Reader(declared, found.fan_outs).keys(root)
    return found


class _Reader:
    def __init__(self, declared: Mapping[Table, Iterable[Key]], fan_outs: list[FanOut]) -> None:
        self._declared, self._fan_outs = declared, fan_outs
        self._kept: dict[int, set[Key]] = {}

    def keys(self, scope: Scope) -> set[Key]:
        if id(scope) not in self._kept:
            self._kept[id(scope)] = set()  # a recursive CTE reads itself
            if scope.is_cte and isinstance(scope.expression.parent, exp.SetOperation):
                found: set[Key] = set()  # and sees there what went before: nothing is known of it
            elif isinstance(scope.expression, exp.SetOperation):
                found = self._of_set_operation(scope)
            else:
                found = self._of_select(scope)
            self._kept[id(scope)] = _least(found)
        return self._kept[id(scope)]

    # -- unions

    def _of_set_operation(self, scope: Scope) -> set[Key]:
        branches = list(scope.set_operation_scopes or ())
        operation = cast(exp.SetOperation, scope.expression)
        names = operation.named_selects
        parts = [self._renamed(branch, names) for branch in branches]
        found: set[Key] = set()
        if operation.args.get("distinct"):
            found.add(frozenset(names))
        if isinstance(operation, exp.Except | exp.Intersect):
            return found | parts[0]
        told_apart = self._told_apart(branches, names)
        for left, right in product(*parts) if len(parts) == 2 else ():
            # A row of one branch is no row of the other where a literal says which branch it is of.
            found |= {left | right | {name} for name in told_apart}
        return found

    def _renamed(self, branch: Scope, names: list[str]) -> set[Key]:
        own = cast(exp.Query, branch.expression).named_selects
        as_named = dict(zip(own, names, strict=False))
        return {frozenset(as_named[column] for column in key) for key in self.keys(branch) if key <= as_named.keys()}

    def _told_apart(self, branches: list[Scope], names: list[str]) -> list[str]:
        literals = [_literals(branch, len(names)) for branch in branches]
        return [
            name
            for position, name in enumerate(names)
            if all(values[position] for values in literals)
            and sum(len(values[position]) for values in literals)
            == len(set().union(*(values[position] for values in literals)))
        ]

    # -- one SELECT

    def _of_select(self, scope: Scope) -> set[Key]:
        select = cast(exp.Select, scope.expression)
        for inner in scope.subquery_scopes:
            self.keys(inner)  # its joins are looked at too
        places, equal = self._joined(scope, select)
        outputs = _outputs(select)
        if select.args.get("group") is not None:
            groups = _grouped(select, equal)
            return {frozenset(groups)} if groups is not None else set()
        if any(_aggregates(projection) for projection in select.selects):
            return {frozenset()}
        if select.args.get("limit") is not None and select.args["limit"].expression.name == "1":
            return {frozenset()}
        names = _names_of(outputs, equal)
        found = {
            frozenset(key) for place_key in places for key in product(*(names.get(place, ()) for place in place_key))
        }
        found |= _numbered(select, names)
        for name, expression in outputs:
            if expression.find(exp.Unnest, exp.Explode):
                # As many rows as the list is long: its values with the rest, where they are a series.
                is_series = expression.find(exp.GenerateSeries, exp.GenerateDateArray) is not None
                found = {key | {name} for key in found} if is_series else set()
        if select.args.get("distinct") is not None:
            found.add(frozenset(name for name, _ in outputs))
        return found

    def _joined(self, scope: Scope, select: exp.Select) -> tuple[set[PlaceKey], dict[Place, set[Place]]]:
        """Keys of the joined sources before grouping, and what the joins hold equal; notes joins that multiply rows."""
        fixed = {
            (column.table, column.name)
            for clause in ("where", "qualify")
            for column in _fixed_columns(select.args.get(clause))
        }
        first = select.args.get("from_") or select.args.get("from")
        keys = self._source_keys(scope, first.alias_or_name, fixed) if first is not None else set()
        left = {first.alias_or_name} if first is not None else set()
        equal: dict[Place, set[Place]] = {}
        fan_outs: list[tuple[exp.Join, _Sides]] = []
        for join in select.args.get("joins") or ():
            alias = join.alias_or_name
            if join.args.get("kind") in ("SEMI", "ANTI"):
                continue
            pairs, constants = _equalities(join, alias)
            own = self._source_keys(scope, alias, fixed | constants)
            by_right = {place for place, _ in pairs}
            is_right_unique = any(key <= by_right for key in own)
            by_left = _closed({place for _, others in pairs for place in others}, equal)
            is_left_unique = any(key <= by_left for key in keys)
            if not is_right_unique and join.args.get("kind") != "CROSS":
                fan_outs.append((join, _Sides(frozenset(left), frozenset(keys), by_right, is_left_unique)))
            for place, others in pairs:
                for other in others:
                    equal.setdefault(place, set()).add(other)
                    equal.setdefault(other, set()).add(place)
            joined: set[PlaceKey] = set(keys) if is_right_unique else set()
            if is_left_unique and join.side != "LEFT":
                joined |= own
            if not joined:
                joined = {one | other for one in keys for other in own}
            keys = set(sorted(joined, key=lambda key: (len(key), sorted(key)))[:_MOST_KEYS])
            left.add(alias)
        for join, sides in fan_outs:
            counted = _harmed(select, sides, equal)
            if counted:
                by = tuple(sorted(column for _, column in sides.by_right))
                self._fan_outs.append(FanOut(join.alias_or_name, by, _line(join), counted))
        return keys, equal

    def _source_keys(self, scope: Scope, alias: str, fixed: set[Place]) -> set[PlaceKey]:
        source = scope.sources.get(alias)
        if isinstance(source, Scope) and isinstance(source.expression, exp.Values):
            keys = _keys_of_values(source.expression)
        elif isinstance(source, Scope):
            keys = self.keys(source)
        elif isinstance(source, exp.Table):
            keys = {frozenset(key) for key in self._declared.get((source.db, source.name), ())}
        else:
            keys = set()
        return {frozenset((alias, column) for column in key) - fixed for key in keys}


def _keys_of_values(values: exp.Values) -> set[Key]:
    """Single columns whose literals all differ."""
    rows = [[cell.sql() for cell in row.expressions] for row in values.expressions]
    names = values.alias_column_names
    return {
        frozenset({name})
        for position, name in enumerate(names)
        if len({row[position] for row in rows if position < len(row)}) == len(rows)
    }


def _grouped(select: exp.Select, equal: Mapping[Place, set[Place]]) -> list[str] | None:
    """The outputs that hold what is grouped by; None where one is no output."""
    group = select.args["group"]
    if group.args.get("all"):
        return [p.alias_or_name for p in select.selects if not _aggregates(p) and not _is_literal(p)]
    if any(group.args.get(kind) for kind in ("cube", "rollup", "grouping_sets")):
        return None
    names = [_output_of(select, expression, equal) for expression in group.expressions]
    return None if None in names else cast("list[str]", names)


def _output_of(select: exp.Select, grouped: exp.Expr, equal: Mapping[Place, set[Place]]) -> str | None:
    """The output that holds an expression of GROUP BY: itself, its position, its alias, or what it is joined to."""
    others = _closed({(grouped.table, grouped.name)}, equal) if isinstance(grouped, exp.Column) else set()
    for position, (name, expression) in enumerate(_outputs(select), 1):
        is_alias = isinstance(grouped, exp.Column) and not grouped.table and name == grouped.name
        is_position = grouped.is_int and position == int(grouped.name)
        is_joined = isinstance(expression, exp.Column) and (expression.table, expression.name) in others
        if expression == grouped or is_alias or is_position or is_joined:
            return name
    return None


def _numbered(select: exp.Select, names: Mapping[Place, list[str]]) -> set[Key]:
    """row_number() over (partition by a): a and the number are a key; a alone where the number is fixed."""
    found: set[Key] = set()
    fixed = {column.name for column in _fixed_columns(select.args.get("qualify"))}
    numbers = [(p.alias_or_name, p.unalias()) for p in select.selects if _is_row_number(p.unalias())]
    qualify_clause = select.args.get("qualify")
    if qualify_clause is not None:
        for condition in _conjuncts(qualify_clause.this):
            if isinstance(condition, exp.EQ) and _is_row_number(condition.this.unnest()):
                numbers.append(("", condition.this.unnest()))
    for alias, window in numbers:
        parts: list[list[str]] = []
        for expression in window.args.get("partition_by") or ():
            options = [p.alias_or_name for p in select.selects if p.unalias() == expression]
            if isinstance(expression, exp.Column):
                options += names.get((expression.table, expression.name), [])
            parts.append(options)
        own = [] if not alias or alias in fixed else [alias]
        found |= {frozenset([*key, *own]) for key in product(*parts)}
    return found


def _harmed(select: exp.Select, sides: _Sides, equal: Mapping[Place, set[Place]]) -> str:
    """What repeated rows change in the result; "" where nothing."""
    if select.args.get("distinct") is not None:
        return ""
    is_grouped = select.args.get("group") is not None or any(_aggregates(p) for p in select.selects)
    if not is_grouped:
        return "" if sides.is_one_to_many else "rows"
    group = select.args.get("group")
    grouped = {
        (each.table, each.name)
        for each in (group.expressions if group is not None else ())
        if isinstance(each, exp.Column)
    }
    holds_left_key = any(key <= _closed(grouped, equal) for key in sides.left_keys)
    for projection in (*select.selects, *([select.args["having"]] if select.args.get("having") is not None else ())):
        for aggregate in projection.find_all(exp.Sum, exp.Count, exp.Avg, exp.CountIf, exp.PercentileCont, exp.Median):
            if isinstance(aggregate.this, exp.Distinct):
                continue
            of_left = any(column.table in sides.left for column in aggregate.find_all(exp.Column))
            if of_left or not (sides.is_one_to_many or holds_left_key):
                return aggregate.sql(dialect="duckdb", comments=False)[:60]
    return ""


def _outputs(select: exp.Select) -> list[tuple[str, exp.Expr]]:
    """Name and expression; a text made of a value tells as many apart as the value."""
    return [(projection.alias_or_name, _untexted(projection.unalias())) for projection in select.selects]


def _untexted(expression: exp.Expr) -> exp.Expr:
    is_text = isinstance(expression, exp.Cast) and expression.to.is_type("varchar", "text")
    return cast(exp.Expr, expression.this) if is_text else expression


def _names_of(outputs: list[tuple[str, exp.Expr]], equal: Mapping[Place, set[Place]]) -> dict[Place, list[str]]:
    """By place, the output columns that hold its value, itself or by what it is joined to."""
    direct: dict[Place, list[str]] = {}
    for name, expression in outputs:
        columns = [expression]
        if isinstance(expression, exp.Coalesce):
            # coalesce(a.k, b.k) of a join by a.k = b.k is the key of both.
            columns = [expression.this, *expression.expressions]
            places = [(c.table, c.name) for c in columns if isinstance(c, exp.Column)]
            if len(places) != len(columns) or not set(places) <= _closed({places[0]}, equal):
                columns = []
        for column in columns:
            if isinstance(column, exp.Column):
                direct.setdefault((column.table, column.name), []).append(name)
    found = dict(direct)
    for place in equal:
        for other in _closed({place}, equal):
            for name in direct.get(other, ()):
                if name not in found.setdefault(place, []):
                    found[place].append(name)
    return found


def _closed(places: set[Place], equal: Mapping[Place, set[Place]]) -> set[Place]:
    found, queue = set(places), list(places)
    while queue:
        for other in equal.get(queue.pop(), ()):
            if other not in found:
                found.add(other)
                queue.append(other)
    return found


def _equalities(join: exp.Join, alias: str) -> tuple[list[tuple[Place, list[Place]]], set[Place]]:
    """What fixes columns of the joined source: (its place, places of the other side it equals), and constants."""
    pairs: list[tuple[Place, list[Place]]] = []
    constants: set[Place] = set()
    for condition in _conjuncts(join.args.get("on")):
        truth = condition.this if isinstance(condition, exp.Not) else condition
        if isinstance(truth, exp.Column) and truth.table == alias:
            constants.add((alias, truth.name))
            pairs.append(((alias, truth.name), []))
        if not isinstance(condition, exp.EQ | exp.NullSafeEQ):
            continue
        for one, other in (
            (condition.this, condition.expression),
            (condition.expression, condition.this),
        ):
            if not isinstance(one, exp.Column) or one.table != alias:
                continue
            columns = list(other.find_all(exp.Column))
            if any(column.table == alias for column in columns):
                continue
            if not columns:
                constants.add((one.table, one.name))
            is_column = isinstance(other, exp.Column)
            pairs.append(((one.table, one.name), [(c.table, c.name) for c in columns] if is_column else []))
    return pairs, constants


def _fixed_columns(clause: exp.Expr | None) -> Iterator[exp.Column]:
    """Columns that a filter holds to one literal."""
    if clause is None:
        return
    for condition in _conjuncts(clause.this):
        truth = condition.this if isinstance(condition, exp.Not) else condition
        if isinstance(truth, exp.Column):
            yield truth
        elif isinstance(condition, exp.EQ):
            for one, other in ((condition.this, condition.expression), (condition.expression, condition.this)):
                if isinstance(one, exp.Column) and isinstance(other, exp.Literal | exp.Boolean):
                    yield one


def _conjuncts(condition: exp.Expr | None) -> list[exp.Expr]:
    if condition is None:
        return []
    condition = condition.unnest()
    return list(condition.flatten()) if isinstance(condition, exp.And) else [condition]


def _aggregates(expression: exp.Expr) -> bool:
    """Whether it makes one row of many: an aggregate that is not a window's."""
    for part in expression.find_all(exp.AggFunc):
        above = part.parent
        while isinstance(above, exp.Filter | exp.WithinGroup):
            above = above.parent
        if not isinstance(above, exp.Window):
            return True
    return False


def _is_row_number(expression: exp.Expr) -> bool:
    return isinstance(expression, exp.Window) and isinstance(expression.this, exp.RowNumber)


def _is_literal(expression: exp.Expr) -> bool:
    return not list(expression.find_all(exp.Column))


def _literals(branch: Scope, width: int) -> list[set[str]]:
    """By output position, the literals that the column can hold; empty where it is no literal."""
    if isinstance(branch.expression, exp.SetOperation):
        parts = [_literals(inner, width) for inner in branch.set_operation_scopes or ()]
        return [
            set().union(*(part[position] for part in parts)) if all(part[position] for part in parts) else set()
            for position in range(width)
        ]
    selects = cast(exp.Select, branch.expression).selects
    values: list[set[str]] = []
    for projection in selects[:width]:
        inner = projection.unalias()
        while isinstance(inner, exp.Cast | exp.Paren):
            inner = inner.this
        values.append({inner.sql()} if isinstance(inner, exp.Literal | exp.Boolean) else set())
    return values + [set()] * (width - len(values))


def _line(node: exp.Expr) -> int:
    return next((part.meta["line"] for part in node.walk() if "line" in part.meta), 0)


def _least(keys: set[Key]) -> set[Key]:
    """Without keys that hold another, the shortest first."""
    found: list[Key] = []
    for key in sorted(keys, key=lambda each: (len(each), sorted(each))):
        if not any(known <= key for known in found):
            found.append(key)
    return set(found[:_MOST_KEYS])
