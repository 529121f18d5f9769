"""The mapping file: which tables and columns of the platform become which reference rows. Read strictly.

Belongs here: the file's form, and every error that needs no database. Does not: whether tables and columns exist
(database).
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

import yaml

from log_ingest.catalog import REFERENCE_ENTITIES, ReferenceEntity
from log_ingest.errors import IngestError

SHIPPED = Path(__file__).with_name("mapping.yml")
BASE = "base"
"""The name of the entry's own table in expressions."""

_SETTINGS = {"time_zone": "UTC", "overlap_minutes": 60, "full_every_days": 7, "statement_timeout_minutes": 120}
_ENTRY = {"entity", "schema", "table", "key", "modified", "joins", "columns", "extra", "where"}


@dataclass(frozen=True)
class Value:
    """Where a value comes from: a column of a table of the entry, or an expression. codes: platform's to ours."""

    name: str
    table: str = BASE
    column: str | None = None
    sql: str | None = None
    codes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Join:
    """A table that is looked up. by: its column, and the column of the base table that it equals."""

    name: str
    schema: str | None
    table: str
    by: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class TableMapping:
    """One entry: a table of the platform and the reference rows that it gives."""

    name: str
    entity: ReferenceEntity
    schema: str | None
    table: str
    key: tuple[str, ...]
    modified: str | None
    joins: tuple[Join, ...]
    columns: tuple[Value, ...]
    extra: tuple[Value, ...]
    where: str | None

    @property
    def source_file(self) -> str:
        """The provenance of its rows: no host, no database, no user."""
        return f"postgresql/{self.table}"

    def description(self) -> dict[str, Any]:
        """Everything that decides what is read: where it differs from the last time, the table is read whole."""
        return {**asdict(self), "entity": self.entity.name}


@dataclass(frozen=True)
class Mapping:
    """A mapping file that was read and found sound."""

    path: Path
    time_zone: str
    overlap: timedelta
    full_every: timedelta
    statement_timeout: timedelta
    tables: tuple[TableMapping, ...]

    def where(self, table: TableMapping) -> str:
        """The place of an entry, for messages."""
        return f"{self.path}: tables.{table.name}"


def load_mapping(path: Path | None = None) -> Mapping:
    """Read a mapping file; the shipped one where None. Raises IngestError naming the file and the entry."""
    path = path or SHIPPED
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)
    except OSError as error:
        raise IngestError(f"{path}: {error.strerror}; set MTW_REFERENCE_MAPPING to a mapping file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        raise IngestError(f"{path}{place}: {getattr(error, 'problem', None) or 'not a UTF-8 YAML file'}") from error
    return _Reader(path).mapping(content)


class _StrictLoader(yaml.SafeLoader):
    """A loader that refuses repeated keys: the last one would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value} is there twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Reader:
    """Turns the YAML content into a Mapping; every error is one line with the file and the entry."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def fail(self, entry: str, what: str) -> NoReturn:
        raise IngestError(f"{self._path}: {entry}: {what}")

    def mapping(self, content: Any) -> Mapping:
        content = self._dict("file", content, allowed={*_SETTINGS, "schema", "tables"}, needed={"tables"})
        numbers = {name: content.get(name, default) for name, default in _SETTINGS.items()}
        zone = str(numbers.pop("time_zone"))
        for name, number in numbers.items():
            if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < 1_000_000:
                self.fail(name, f"{number!r} is no positive number")
        try:
            ZoneInfo(zone)
        except Exception:  # ZoneInfo raises several types for hostile names
            self.fail("time_zone", f"{zone!r} is no known zone; use a name such as Europe/Paris")
        tables = self._dict("tables", content["tables"])
        schema = self._name("schema", content["schema"]) if "schema" in content else None
        found = tuple(self._table(str(name), entry, schema) for name, entry in tables.items())
        by_origin: dict[tuple[str, str], str] = {}
        for table in found:
            other = by_origin.setdefault((table.entity.name, table.table), table.name)
            if other != table.name:
                self.fail(f"tables.{table.name}", f"{table.table} feeds {table.entity.name} in tables.{other} already")
        return Mapping(
            self._path,
            zone,
            timedelta(minutes=numbers["overlap_minutes"]),
            timedelta(days=numbers["full_every_days"]),
            timedelta(minutes=numbers["statement_timeout_minutes"]),
            found,
        )

    def _table(self, name: str, content: Any, schema: str | None) -> TableMapping:
        where = f"tables.{name}"
        entry = self._dict(where, content, allowed=_ENTRY, needed={"table", "key", "columns"})
        entity_name = str(entry.get("entity", name))
        entity = next((entity for entity in REFERENCE_ENTITIES if entity.name == entity_name), None)
        if entity is None:
            known = ", ".join(entity.name for entity in REFERENCE_ENTITIES)
            self.fail(where, f"{entity_name!r} is no reference entity; use entity: with one of {known}")
        schema = self._name(f"{where}.schema", entry["schema"]) if "schema" in entry else schema
        joins = tuple(
            self._join(f"{where}.joins.{join}", str(join), content, schema)
            for join, content in self._dict(f"{where}.joins", entry.get("joins", {})).items()
        )
        tables = {BASE, *(join.name for join in joins)}
        columns = self._values(f"{where}.columns", entry["columns"], tables)
        extra = self._values(f"{where}.extra", entry.get("extra", {}), tables)
        canonical = {column.name for column in entity.columns}
        for value in columns:
            if value.name not in canonical:
                known = ", ".join(sorted(canonical))
                self.fail(
                    f"{where}.columns.{value.name}",
                    f"{entity.name} has no such column; keep it under extra, or use one of {known}",
                )
        for value in extra:
            if value.name in canonical:
                self.fail(f"{where}.extra.{value.name}", f"is a column of {entity.name}; move it to columns")
        needed = {column.name for column in entity.columns if column.is_required} | set(entity.key)
        missing = sorted(needed - {value.name for value in columns})
        if missing:
            self.fail(f"{where}.columns", f"{', '.join(missing)} must be there: {entity.name} cannot be without")
        condition = self._dict(f"{where}.where", entry["where"], allowed={"sql"}) if "where" in entry else {}
        return TableMapping(
            name,
            entity,
            schema,
            self._name(f"{where}.table", entry["table"]),
            self._names(f"{where}.key", entry["key"]),
            self._name(f"{where}.modified", entry["modified"]) if "modified" in entry else None,
            joins,
            columns,
            extra,
            self._expression(f"{where}.where.sql", condition.get("sql")) if condition else None,
        )

    def _join(self, where: str, name: str, content: Any, schema: str | None) -> Join:
        if name == BASE:
            self.fail(where, f"{BASE} is the name of the table itself; choose another")
        join = self._dict(where, content, allowed={"schema", "table", "by"}, needed={"table", "by"})
        by = self._dict(f"{where}.by", join["by"])
        if not by:
            self.fail(f"{where}.by", "names no column; write {its column: column of the table}")
        return Join(
            name,
            self._name(f"{where}.schema", join["schema"]) if "schema" in join else schema,
            self._name(f"{where}.table", join["table"]),
            tuple((self._name(f"{where}.by", its), self._name(f"{where}.by", ours)) for its, ours in by.items()),
        )

    def _values(self, where: str, content: Any, tables: set[str]) -> tuple[Value, ...]:
        return tuple(
            self._value(f"{where}.{name}", str(name).strip().lower(), value, tables)
            for name, value in self._dict(where, content).items()
        )

    def _value(self, where: str, name: str, content: Any, tables: set[str]) -> Value:
        if isinstance(content, str):
            content = {"column": content}
        value = self._dict(where, content, allowed={"column", "sql", "codes"})
        if ("column" in value) == ("sql" in value):
            self.fail(where, "needs either column or sql")
        codes = tuple(
            (str(code), str(ours)) for code, ours in self._dict(f"{where}.codes", value.get("codes", {})).items()
        )
        if "sql" in value:
            return Value(name, sql=self._expression(f"{where}.sql", value["sql"]), codes=codes)
        table, _, column = self._name(where, value["column"]).rpartition(".")
        if table and table not in tables:
            self.fail(where, f"{table!r} is no join of this entry; its tables are {', '.join(sorted(tables))}")
        return Value(name, table or BASE, column, codes=codes)

    def _expression(self, where: str, content: Any) -> str:
        if not isinstance(content, str) or not content.strip():
            self.fail(where, "is no expression")
        if ";" in content:
            self.fail(where, "has a semicolon; one expression is all that fits here")
        return content

    def _names(self, where: str, content: Any) -> tuple[str, ...]:
        if not isinstance(content, list) or not content:
            self.fail(where, "must be a list of columns, such as [ideliveryid]")
        return tuple(self._name(where, name) for name in content)

    def _name(self, where: str, content: Any) -> str:
        if not isinstance(content, str) or not content.strip():
            self.fail(where, f"{content!r} is no name")
        return content

    def _dict(
        self, where: str, content: Any, *, allowed: Iterable[str] | None = None, needed: Iterable[str] = ()
    ) -> dict[Any, Any]:
        if not isinstance(content, dict):
            self.fail(where, "must be a mapping of names to values")
        unknown = sorted({str(key) for key in content} - set(allowed)) if allowed is not None else []
        if unknown:
            self.fail(where, f"{unknown[0]!r} is not known here; known are {', '.join(sorted(allowed or ()))}")
        absent = sorted(set(needed) - set(content))
        if absent:
            self.fail(where, f"{absent[0]} is missing")
        return content
