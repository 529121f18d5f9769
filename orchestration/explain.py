"""Where a published number comes from: its definition, its lineage, and the raw lines that make it.

Belongs here: finding these out from the published file and the landed rows, and from nothing else: the working
database may be absent or in use. Does not: drawing them (explain_output), or any rule of what is counted, which the
published file carries: meta.indicator_catalogue, meta.indicator_counts, meta.model_sql, meta.column_lineage.
"""

import contextlib
import difflib
import json
import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import duckdb

from log_ingest.catalog import REFERENCE_ENTITIES
from log_ingest.frozen import DELIVERY_LOGS, STATISTICS
from log_ingest.raw_lines import key_sql, landed_rows, line_sources, line_sql, reference_row_sql
from log_ingest.sqltext import identifier, literal
from log_ingest.storage import Location, let_read
from orchestration.ids import unsigned
from orchestration.lineage import AGGREGATE, FORMULA, ROWS, VALUE, Edge, Table, upstream
from orchestration.published_tables import UNDESCRIBED

HUMAN = "human_"
SEARCHED_SCHEMAS = ("reports", "core", "meta")
_NAMED = re.compile(r"\{(\w+)\}")
"""In the SQL of counts and row keys: a column of the mart's row, for its value; a row key, for its SQL; _IS_HUMAN."""
_IS_HUMAN = "is_human"
"""Named by SQL that has to look at other rows of the fact too: whether the human form is counted."""
_FETCHED_AT_ONCE = 1000
_LANDED_AS: dict[str, tuple[str, str, list[str]]] = {
    "fct_tracking_events": ("event_key", "occurred_at", []),
    "fct_messages": ("message_id", "event_at", ["messages"]),
    "fct_subscriptions": ("recipient_id", "occurred_at", ["subscriptions"]),
}
"""By fact: a column that its landed rows have too, its time, and the landed tables; none: those of lines."""
_IDS = {"delivery_id", "recipient_id", "message_id", "url_id"}
"""Keys that may be given as the signed 32-bit numbers that the marketing platform shows, too."""
_OWN_PLACE = {"event_key", "occurred_at", "ingested_at", "source_file", "source_line"}
"""Columns of a fact whose rows lead to their lines by themselves."""
_PROVENANCE = {"batch_id", "row_hash", "file_modified_at", "source_file", "line_number", "ingested_at", "file_id"}
"""Landed columns that say where a row came from and which version of it counts, not what it says."""


class UnknownName(ValueError):
    """There is no such mart, column or key. The message is one line and names what is near."""


class NotThere(RuntimeError):
    """The published version does not have what was asked for. The message is one line that says what to do."""


@dataclass(frozen=True)
class RawLine:
    """One counted line. line: None where the landed rows no longer hold it; counted: the value that is looked at."""

    source_file: str
    source_line: int
    line: str | None
    counted: object = None


@dataclass(frozen=True)
class Count:
    """What is counted: measure (SQL) over the rows of a fact (`counted`) for which `where` holds and whose places are
    the keys of the mart's row."""

    fact: str
    where: str
    measure: str
    places: Mapping[str, str] = field(default_factory=dict)
    """By key of the mart's row: the SQL that gives it for a counted row. Those that `where` looks for are not in it."""
    of_row: str = ""
    """The places that are no column of the fact, as a condition."""

    @property
    def looked_at(self) -> str:
        """The column whose distinct values are counted, or whose values are summed; empty where rows are counted."""
        found = re.search(r"(?:distinct |sum\()(\w+)", self.measure)
        return found[1] if found else ""


@dataclass
class Part:
    """One published value and what it is made of: counted lines, or reference rows, or other parts.

    recount: the value counted again from the published facts; None where it is no count. purged: why lines that it
    counts are no longer there, a sentence; empty where all are. without_lines: likewise, why they were never there: it
    has no count then. lines: read while they are asked for; line_count: all there are, lines_shown: as many as `lines`
    gives.
    """

    mart: str
    column: str
    value: object
    definition: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    count: Count | None = None
    recount: object = None
    purged: str = ""
    without_lines: str = ""
    line_count: int = 0
    lines_shown: int = 0
    lines: Iterator[RawLine] = field(default_factory=lambda: iter(()))
    reference_entity: str = ""


@dataclass(frozen=True)
class RawField:
    """A landed column that feeds the value; models: through which, nearest to the mart first."""

    source: str
    column: str
    use: str
    models: tuple[str, ...]


@dataclass
class Explanation:
    """Everything about one column of one row of a mart, or about a row's lines where column is empty."""

    mart: str
    column: str
    keys: dict[str, object]
    version: int
    published_at: datetime
    data_through_at: datetime | None
    parts: list[Part]
    fields: list[RawField]
    filters: list[tuple[str, str]]
    """(model, condition) of what decides which rows count in the mart itself."""
    models: dict[str, str]
    """SQL by model, of the models on the way."""


@contextlib.contextmanager
def explained(
    database: Path, landed_dir: Location, target: str, keys: Mapping[str, str], limit: int | None
) -> Iterator[Explanation]:
    """Explain `mart.column` (or `mart`, of marts of events) for the row with these keys. The lines of its parts are
    read inside the context. limit: lines to give for each part; None: all.

    Raises UnknownName, NotThere.
    """
    with explainer(database, landed_dir, limit) as explain:
        yield explain(target, keys)


@contextlib.contextmanager
def explainer(
    database: Path, landed_dir: Location, limit: int | None
) -> Iterator[Callable[[str, Mapping[str, str]], Explanation]]:
    """What explains as explained() does, for several numbers of one version: its lineage is read once.

    The lines of one explanation are read before the next is asked for. Raises NotThere.
    """
    if not database.exists():
        raise NotThere("nothing is published yet; run: mtw run")
    with contextlib.closing(duckdb.connect(str(database.resolve()), read_only=True)) as connection:
        let_read(connection, landed_dir)
        yield _Explainer(connection, landed_dir, limit).explain


class _Explainer:
    def __init__(self, connection: duckdb.DuckDBPyConnection, landed_dir: Location, limit: int | None) -> None:
        self._db, self._landed, self._limit = connection, landed_dir, limit
        self._columns: dict[Table, dict[str, tuple[str, str]]] = {}
        rows = self._rows(
            "select schema_name, table_name, column_name, data_type, coalesce(comment, '') from duckdb_columns()"
            " where not internal and schema_name in ('reports', 'core', 'meta') order by table_oid, column_index"
        )
        for schema, table, column, kind, comment in rows:
            self._columns.setdefault((schema, table), {})[column] = kind, comment
        if not {("meta", "model_sql"), ("meta", "column_lineage"), ("meta", "indicator_counts")} <= set(self._columns):
            raise NotThere("the published version does not carry its models' SQL; publish again: mtw run")
        self._models = {
            (schema, name): (sql, grain, json.loads(row_keys))
            for schema, name, sql, grain, row_keys in self._rows(
                "select schema_name, table_name, sql, grain, row_keys from meta.model_sql"
            )
        }
        self._edges: dict[tuple[Table, str], list[Edge]] = {}
        for schema, name, column, *source, source_column, use, condition in self._rows(
            "select schema_name, table_name, column_name, source_schema, source_table, source_column, use,"
            " coalesce(condition, '') from meta.column_lineage"
        ):
            edge = Edge((schema, name), column, (source[0], source[1]), source_column, use, condition)
            self._edges.setdefault((edge.table, column), []).append(edge)
        self._catalogue = self._by_name("indicator_catalogue")
        self._counts = self._by_name("indicator_counts")
        self._purges: dict[int, dict[str, datetime]] = {}
        """By delivery and kind: when that was purged of it."""
        if ("meta", "purges") in self._columns:
            for delivery, kind, purged_at in self._rows("select delivery_id, kind, purged_at from meta.purges"):
                self._purges.setdefault(delivery, {})[kind] = purged_at

    def explain(self, target: str, keys: Mapping[str, str]) -> Explanation:
        table, column = self._find(target)
        known = self._known_keys(table, column, keys)
        parts = list(self._parts(table, column, known)) if column else [self._events(table, known)]
        # Of events without a column: what any of their columns is made of.
        columns = [column] if column else list(self._columns[table])
        edges = dict.fromkeys(edge for name in columns for edge in upstream(self._edges, table, name))
        way = sorted(edges, key=lambda edge: edge[2])
        models = {".".join(edge.table): self._models[edge.table][0] for edge, _, _ in way if edge.table in self._models}
        # A report that hands on or adds up what another counted has that one's too.
        handed_on = {edge.source for edge, use, _ in way if use in (VALUE, AGGREGATE) and edge.source[0] == "reports"}
        filters = dict.fromkeys(
            (edge.table[1], edge.condition)
            for edge, _, _ in way
            if edge.use == ROWS and edge.condition and edge.table in {table, *handed_on}
        )
        (version, published_at, through) = self._rows(
            "select version, published_at, data_through_at from meta.publication"
        )[0]
        return Explanation(
            mart=table[1],
            column=column,
            keys=known,
            version=version,
            published_at=published_at,
            data_through_at=through,
            parts=parts,
            fields=self._fields(table, way),
            filters=list(filters),
            models=models,
        )

    # -- names and keys

    def _find(self, target: str) -> tuple[Table, str]:
        pieces = target.split(".")
        if len(pieces) > 1 and pieces[0] in SEARCHED_SCHEMAS:
            pieces = pieces[1:]
        name, column = pieces[0], ".".join(pieces[1:])
        marts = {table for schema, table in self._columns if schema != "meta"}
        table = next((table for table in self._columns if table[1] == name and name in marts), None)
        if table is None:
            raise UnknownName(f"there is no mart {name!r}{_near(name, marts)}")
        columns = self._columns[table]
        if column and column not in columns:
            raise UnknownName(f"{name} has no column {column!r}{_near(column, columns)}")
        if not column and "event_key" not in columns:
            raise UnknownName(f"name a column of {name}, such as {name}.{self._example(table)}")
        return table, column

    def _example(self, table: Table) -> str:
        names = list(self._columns[table])
        return next((name for name in names if name.endswith("_count")), names[-1])

    def _known_keys(self, table: Table, column: str, keys: Mapping[str, str]) -> dict[str, object]:
        """The keys with values of the columns' types. They must name one row, except of marts of events."""
        columns = self._columns[table]
        known: dict[str, object] = {}
        for name, text in keys.items():
            if name not in columns:
                raise UnknownName(f"{table[1]} has no column {name!r} to choose a row by{_near(name, columns)}")
            try:
                known[name] = self._rows(f"select cast(? as {columns[name][0]})", [text])[0][0]
            except duckdb.Error as error:
                raise UnknownName(f"{text!r} is no {columns[name][0]} for {name}") from error
            value = known[name]
            if name in _IDS and isinstance(value, int):
                known[name] = unsigned(value)
        condition, values = _equal(known)
        found = self._rows(f"select count(*) from {_name(table)} where {condition}", values)[0][0]
        if not found:
            said = ", ".join(f"{name} {value}" for name, value in known.items()) or "no rows"
            purged = self._purges.get(known.get("delivery_id"), {})  # type: ignore[call-overload]
            if purged and ({"event_key", "message_id"} & columns.keys() or STATISTICS in purged):
                raise NotThere(f"{_purged_on(purged)}: {table[1]} has no row for {said} any more")
            raise NotThere(f"{table[1]} of the published version has no row for {said}")
        is_of_events = "event_key" in columns
        if found > 1 and not is_of_events:
            missing = [name for name in self._grain(table) if name not in known]
            option = {"delivery_id": "--delivery", "mail_domain": "--domain", "url_id": "--url"}
            options = (
                " ".join(f"{option[n]} …" if n in option else f"--key {n}=…" for n in missing) or "--key NAME=VALUE"
            )
            raise UnknownName(f"{found} rows of {table[1]} match; it has one row for each of them with: {options}")
        if is_of_events and not known:
            raise UnknownName(f"say whose events of {table[1]}: --recipient ID or --delivery ID")
        return known

    def _grain(self, table: Table) -> list[str]:
        return list(self._models[table][1]) if table in self._models else []

    # -- what a value is made of

    def _parts(self, table: Table, column: str, known: Mapping[str, object]) -> Iterator[Part]:
        """The column's own part, then those of the numbers it is computed from, nearest first."""
        queue = [(table, column)]
        seen = set(queue)
        while queue:
            here, name = queue.pop(0)
            keys = {key: value for key, value in known.items() if key in self._columns[here]}
            part = self._part(here, name, keys)
            if part is None:
                continue
            yield part
            if part.count is not None or part.reference_entity:
                continue
            for below in self._numbers_below(here, name):
                if below not in seen and set(self._grain(below[0])) <= set(known):
                    seen.add(below)
                    queue.append(below)

    def _numbers_below(self, table: Table, column: str) -> list[tuple[Table, str]]:
        """The published numbers that a column is computed from, row by row: of its own row, or of another report's."""
        return [
            (edge.source, edge.source_column)
            for edge in self._edges.get((table, column), ())
            if (edge.use == FORMULA or (edge.use == VALUE and edge.source[0] == "reports"))
            and edge.source in self._columns
        ]

    def _part(self, table: Table, column: str, keys: Mapping[str, object]) -> Part | None:
        if "event_key" in self._columns[table]:
            return self._events(table, keys, column)
        condition, values = _equal(keys)
        names = list(self._columns[table])
        selected = ", ".join(map(identifier, names))
        found = self._rows(f"select {selected} from {_name(table)} where {condition} limit 2", values)
        if len(found) != 1:
            return None
        row = dict(zip(names, found[0], strict=True))
        home = self._home(table, column)
        definition, facts = self._definition(table, column, home)
        part = Part(table[1], column, row[column], definition, facts)
        part.without_lines = self._why_without_lines(home, row) if home else ""
        if home and part.value is None and home[:2] in self._counts:
            part.without_lines = "this row has no such number."
        count = self._count(table, home, row, keys) if home and not part.without_lines else None
        if count is not None:
            self._count_lines(part, count, row)
        elif not part.without_lines and not self._numbers_below(table, column):
            self._reference_rows(part, table, column, keys)
        return part

    def _home(self, table: Table, column: str) -> tuple[str, str, bool] | None:
        """(mart, name, is human form) of the catalogue's or the counts' row that defines a column.

        Elsewhere than in its own mart a column is the same indicator when it has the same description: descriptions
        are made from the catalogue. What a mart hands on from another is defined there.
        """
        base = column.removeprefix(HUMAN)
        for name, is_human in ((column, False), (base, True)):
            if name == column and is_human:
                continue
            if (table[1], name) in self._catalogue or (table[1], name) in self._counts:
                return table[1], name, is_human
        comment = self._columns[table][column][1]
        for mart, name in [*self._catalogue, *self._counts]:
            home = next((t for t in self._columns if t[1] == mart), None)
            if home is None or name != base or column not in self._columns[home] or comment == UNDESCRIBED:
                continue
            if self._columns[home][column][1] == comment:
                return mart, name, column != name
        handed_on = [edge for edge in self._edges.get((table, column), ()) if edge.use in (VALUE, AGGREGATE, FORMULA)]
        if len(handed_on) == 1 and handed_on[0].use == VALUE and handed_on[0].source in self._columns:
            return self._home(handed_on[0].source, handed_on[0].source_column)
        return None

    def _definition(self, table: Table, column: str, home: tuple[str, str, bool] | None) -> tuple[str, dict[str, str]]:
        row = self._catalogue.get(home[:2]) if home else None
        if row is None or home is None:
            return self._columns[table][column][1], {}
        text = str(row["definition"])
        if home[2]:
            text += " Without the events judged machine-made."
        labels = {
            "numerator": "numerator", "denominator": "denominator", "reference_name": "reference name",
            "decision": "decision", "additivity": "additivity", "unit": "unit",
        }  # fmt: skip
        return text, {label: str(row[name]) for name, label in labels.items() if row.get(name)}

    def _row_keys(self, table: Table, fact: str) -> dict[str, str]:
        """By key of a mart's row: how a counted row of a fact finds it. A key that differs by fact is fact.key."""
        said = self._models[table][2] if table in self._models else {}
        own = {name.partition(".")[2]: sql for name, sql in said.items() if name.startswith(f"{fact}.")}
        keys = {name: sql for name, sql in said.items() if "." not in name} | own
        return {name: _with_common(sql, keys, self._columns[table]) for name, sql in keys.items()}

    def _why_without_lines(self, home: tuple[str, str, bool], row: Mapping[str, object]) -> str:
        said = str((self._counts.get(home[:2]) or {}).get("without_lines") or "")
        return str(self._rows(f"select {_filled(said, row)}")[0][0] or "") if said else ""

    def _count(
        self, table: Table, home: tuple[str, str, bool], row: Mapping[str, object], keys: Mapping[str, object]
    ) -> Count | None:
        """None where nothing says what is counted, or which of it belongs to a row of this mart."""
        said = self._counts.get(home[:2])
        if said is None:
            return None
        fact, is_human = str(said["counted_from"]), home[2]
        row_keys = self._row_keys(table, fact)
        where = _with_common(str(said["counted_where"]), row_keys, row)
        named = {**row, _IS_HUMAN: is_human}
        looked_for = set(_NAMED.findall(where))
        # Of the grain only: other columns that chose the row follow from it.
        sought = [name for name in self._grain(table) or keys if name not in looked_for]
        if not (looked_for <= named.keys() and set(sought) <= {*row_keys, *self._columns["core", fact]}):
            return None
        where = _filled(where, named)
        return Count(
            fact,
            f"({where}) and not is_machine" if is_human else where,
            _filled(str(said["counted_as"]), named),
            {name: _filled(row_keys.get(name, f"counted.{name}"), named).strip() for name in sought},
        )

    def _count_lines(self, part: Part, count: Count, row: Mapping[str, object]) -> None:
        # Neither columns of the fact, nor keys of which every counted row has the one that was asked for.
        own = {
            name: place
            for name, place in count.places.items()
            if place not in (f"counted.{name}", _constant(row[name]))
        }
        of_row = " and ".join(f"({place}) = {_constant(row[name])}" for name, place in own.items())
        part.count = replace(count, of_row=of_row)
        condition, values = _equal({place: row[name] for name, place in count.places.items()}, quoted=False)
        rows = f"core.{identifier(count.fact)} as counted where {condition} and ({count.where})"
        part.recount, part.line_count = self._rows(f"select {count.measure}, count(*) from {rows}", values)[0]
        if part.recount != part.value:
            part.purged = self._why_purged(count, row)
        part.lines_shown = part.line_count if self._limit is None else min(self._limit, part.line_count)
        part.lines = self._lines(rows, values, count.fact, count.looked_at)

    def _why_purged(self, count: Count, row: Mapping[str, object]) -> str:
        purged = self._purges.get(row.get("delivery_id"))  # type: ignore[call-overload]
        if purged:
            return _purged_on(purged)
        # Rows that are logged for other deliveries count only where no delivery is looked for, or in another way.
        if not self._purges or count.places.get("delivery_id") == "counted.delivery_id":
            return ""
        last = max(moment for purged in self._purges.values() for moment in purged.values())
        return f"lines of purged deliveries count in it, of which the last were purged on {last:%Y-%m-%d}"

    def _events(self, table: Table, keys: Mapping[str, object], column: str = "") -> Part:
        """The events behind the rows of a mart of events."""
        condition, values = _equal(keys)
        fact, where = "fct_tracking_events", f"event_key in {'.'.join(table)}"
        rows = (
            "core.fct_tracking_events as counted where event_key in"
            f" (select event_key from {_name(table)} where {condition})"
        )
        if table[0] == "core" and self._columns[table].keys() >= _OWN_PLACE:
            # Not all of its rows need be tracking events: a provider tells of deliveries and bounces, too.
            fact, rows = table[1], f"{_name(table)} as counted where {condition}"
            where = " and ".join(
                f"{name} is null" if value is None else f"{name} = {_constant(value)}" for name, value in keys.items()
            )
        part = Part(table[1], column, None, self._columns[table][column][1] if column else self._comment(table))
        count = self._rows(f"select count(*) from {_name(table)} where {condition}", values)[0][0]
        part.value = count
        part.recount = part.line_count = self._rows(f"select count(*) from {rows}", values)[0][0]
        part.count = Count(fact, where, "count(*)")
        part.lines_shown = part.line_count if self._limit is None else min(self._limit, part.line_count)
        part.lines = self._lines(rows, values, "fct_tracking_events", "")
        return part

    # -- raw lines

    def _lines(self, rows: str, values: Sequence[object], fact: str, distinct: str) -> Iterator[RawLine]:
        limit = "" if self._limit is None else f" limit {int(self._limit)}"
        key, at, sources = _LANDED_AS[fact]
        is_event = not sources
        cursor = self._db.cursor()
        cursor.execute(
            f"create or replace temp table wanted as select row_number() over () as n, * from ("
            f"select {key} as key, source_file, source_line, ingested_at, {distinct or 'null'} as counted"
            f" from {rows} order by {at}, source_file, source_line{limit})",
            values,
        )
        texts = []
        for source in sources or line_sources():
            rows_of_source = landed_rows(self._landed, source)
            text = line_sql(source) if is_event else reference_row_sql(source)
            same = "" if is_event else " and landed.ingested_at = wanted.ingested_at"
            if text == "line":
                # A line that holds several events stands on the first of its rows.
                text = (
                    f"coalesce(landed.line, (select max(first.line) from {rows_of_source} as first"
                    " where first.file_id = landed.file_id and first.line_number = landed.line_number))"
                )
            # File and line first: they rise within a file, so that only the row groups of these lines are read.
            texts.append(
                f"select wanted.n, {text} as line from wanted inner join {rows_of_source} as landed"
                " on landed.source_file = wanted.source_file and landed.line_number = wanted.source_line"
                f" and {key_sql(source) if is_event else f'landed.{key}'} = wanted.key{same}"
            )
        found = " union all ".join(texts) or "select 0 as n, '' as line where false"
        cursor.execute(f"create or replace temp table found as {found}")
        cursor.execute(
            "select source_file, source_line, line, counted from wanted left join found using (n) order by n"
        )
        while batch := cursor.fetchmany(_FETCHED_AT_ONCE):
            for row in batch:
                yield RawLine(*row)

    def _reference_rows(self, part: Part, table: Table, column: str, keys: Mapping[str, object]) -> None:
        """The landed rows of the reference entities that the value is copied from, newest first."""
        values_only = {
            place: [edge for edge in edges if edge.use in (VALUE, AGGREGATE)] for place, edges in self._edges.items()
        }
        fed = {
            (edge.source[1], edge.source_column)
            for edge, _, _ in upstream(values_only, table, column)
            if edge.source[0] == "landed"
        }
        selects: list[str] = []
        values: list[object] = []
        entities = []
        for entity in REFERENCE_ENTITIES:
            columns = sorted({name for source, name in fed if source == entity.name} - set(entity.key))
            known = [name for name in ("delivery_id", "url_id", "recipient_id", "mail_domain") if name in keys]
            own = [name for name in known if name in {c.name for c in entity.columns}]
            if not columns or not own:
                continue
            condition = " and ".join(f"{identifier(name)} = ?" for name in own)
            chosen = [keys[name] for name in own]
            if entity.name == "tracked_urls" and "url_id" in own:
                condition = "url_id = ? and delivery_id in (?, 0)"  # 0 serves every delivery without a row of its own
                chosen = [keys["url_id"], keys.get("delivery_id", 0)]
            if not set(entity.key) <= set(own):
                # Of many rows, those that say what is published.
                condition += f" and ({' or '.join(f'{identifier(name)} = ?' for name in columns)})"
                chosen += [part.value] * len(columns)
            entities.append(entity.name)
            values += chosen
            selects.append(
                f"select {len(entities)} as entity, source_file, line_number, {reference_row_sql(entity.name)} as line,"
                f" file_modified_at from {landed_rows(self._landed, entity.name)} where {condition}"
            )
        if not selects:
            return
        rows = " union all ".join(selects)
        part.reference_entity = ", ".join(entities)
        try:
            part.line_count = self._rows(f"select count(*) from ({rows})", values)[0][0]
        except duckdb.ConversionException:  # the value is of another type than the field that feeds it
            part.reference_entity = ""
            return
        part.lines_shown = part.line_count if self._limit is None else min(self._limit, part.line_count)
        limit = "" if self._limit is None else f" limit {int(self._limit)}"
        part.lines = (
            RawLine(*row)
            for row in self._rows(
                f"select source_file, line_number, line from ({rows})"
                f" order by entity, file_modified_at desc, source_file desc, line_number desc{limit}",
                values,
            )
        )

    # -- lineage

    def _fields(self, table: Table, way: Sequence[tuple[Edge, str, int]]) -> list[RawField]:
        """The landed columns at the end of the way, those that values are made of first."""
        found: dict[tuple[str, str], str] = {}
        for edge, use, _ in way:
            place = edge.source[1], edge.source_column
            if edge.source[0] != "landed" or (use == ROWS and edge.source_column in _PROVENANCE):
                continue
            if place not in found or found[place] == ROWS:
                found[place] = use
        through: dict[tuple[str, str], dict[str, None]] = {}
        by_target: dict[tuple[Table, str], list[Edge]] = {}
        for edge, _, _ in way:
            by_target.setdefault((edge.source, edge.source_column), []).append(edge)
        for place in found:
            models: dict[str, int] = {}
            queue = [((("landed", place[0]), place[1]), 0)]
            while queue:
                here, steps = queue.pop(0)
                for edge in by_target.get(here, ()):
                    if edge.table[1] not in models:
                        models[edge.table[1]] = steps
                        if edge.table != table:
                            queue.append(((edge.table, edge.column), steps + 1))
            through[place] = dict.fromkeys(sorted(models, key=lambda name: -models[name]))
        return [
            RawField(source, column, use, tuple(through[source, column]))
            for (source, column), use in sorted(found.items(), key=lambda item: (item[1] == ROWS, item[0]))
        ]

    # -- the database

    def _rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple]:
        return self._db.execute(sql, list(values)).fetchall()

    def _by_name(self, table: str) -> dict[tuple[str, str], dict[str, object]]:
        if ("meta", table) not in self._columns:
            return {}
        names = list(self._columns["meta", table])
        rows = self._rows(f"select * from meta.{identifier(table)}")
        found = (dict(zip(names, row, strict=True)) for row in rows)
        return {(str(row["mart"]), str(row["name"])): row for row in found}

    def _comment(self, table: Table) -> str:
        rows = self._rows(
            "select coalesce(comment, '') from duckdb_tables() where schema_name = ? and table_name = ?", table
        )
        return str(rows[0][0]) if rows else ""


def _purged_on(purged: Mapping[str, datetime]) -> str:
    """purged: by kind, when."""
    if STATISTICS in purged:
        return f"the statistics of this delivery were purged on {purged[STATISTICS]:%Y-%m-%d}"
    what = "tracking events and messages" if DELIVERY_LOGS in purged else "tracking events"
    return f"the {what} of this delivery were purged on {max(purged.values()):%Y-%m-%d}, its reports stay as they were"


def _equal(keys: Mapping[str, object], *, quoted: bool = True) -> tuple[str, list[object]]:
    """A predicate that the columns (or, not quoted, the expressions) have these values, and its parameters."""
    places = {name: identifier(name) if quoted else f"({name})" for name in keys}
    conditions = [f"{places[name]} is null" if value is None else f"{places[name]} = ?" for name, value in keys.items()]
    return " and ".join(conditions) or "true", [value for value in keys.values() if value is not None]


def _with_common(sql: str, row_keys: Mapping[str, str], columns: Container[str]) -> str:
    """The project's SQL with that which several predicates and keys have in common: a row key that is no column."""
    return _NAMED.sub(lambda found: found[0] if found[1] in columns else row_keys.get(found[1], found[0]), sql)


def _filled(sql: str, row: Mapping[str, object]) -> str:
    """The project's SQL with what the mart's row says where it is named: {percentile}. What it does not say is NULL."""
    return _NAMED.sub(lambda found: _constant(row.get(found[1])), sql)


def _constant(value: object) -> str:
    return "null" if value is None else str(value) if isinstance(value, int | float) else literal(str(value))


def _name(table: Table) -> str:
    return f"{identifier(table[0])}.{identifier(table[1])}"


def _near(name: str, names: Sequence[str] | set[str] | Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, sorted(names), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else f"; there are: {', '.join(sorted(names)[:40])}"
