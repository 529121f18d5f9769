"""Personal fields that reach a column of a report, or decide which rows a model has.

Belongs here: following the landed personal fields upwards through the column lineage. Does not: which fields are
personal (log_ingest.catalog), or masking them (the report pages).

A column says in its meta what becomes of what is personal:

    sanitised: "why"    made of a personal field and nothing personal itself: its domain, a digest, a word of ours
    personal: "why"     shown on purpose, to those who need it

and a model says in its meta which personal columns may filter, join or group its rows:

    personal_filters: {visitor_id: "why"}

Numbers, times and booleans of a contract hold no name, address or identifier of a visitor, and end the way.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from orchestration.lineage import FORMULA, ROWS, Edge, Table

SANITISED, PERSONAL, FILTERS = "sanitised", "personal", "personal_filters"
REPORTS = "reports"

Column = tuple[Table, str]


def reached(
    edges: Iterable[Edge], personal: Iterable[Column], declared: Mapping[Table, Mapping[str, Any]]
) -> Iterator[tuple[Table, str, str]]:
    """(model, rule, what is wrong). personal: landed fields; declared: by table, the manifest's entry of the model."""
    readers: dict[Column, list[Edge]] = {}
    for edge in edges:
        if edge.use != FORMULA:
            readers.setdefault((edge.source, edge.source_column), []).append(edge)
    origins: dict[Column, set[str]] = {field: {f"{field[0][1]}.{field[1]}"} for field in personal}
    queue = list(origins)
    filters: dict[tuple[Table, str], tuple[set[str], str]] = {}
    while queue:
        here = queue.pop()
        for edge in readers.get(here, ()):
            if edge.use == ROWS:
                known = filters.setdefault((edge.table, here[1]), (set(), edge.condition))
                known[0].update(origins[here])
                continue
            there = edge.table, edge.column
            if _ends(declared.get(edge.table, {}), edge.column) or origins[here] <= origins.get(there, set()):
                continue
            origins[there] = origins.get(there, set()) | origins[here]
            queue.append(there)
    for (table, column), fields in sorted(origins.items()):
        if table[0] == REPORTS and PERSONAL not in _meta(declared[table], column):
            yield (
                table,
                "personal-column",
                f"{column} shows {', '.join(sorted(fields))}: leave it out, or say in its meta why it is personal or"
                " sanitised",
            )
    for (table, column), (fields, condition) in sorted(filters.items()):
        if column not in (declared[table].get("config", {}).get("meta") or {}).get(FILTERS, {}):
            yield (
                table,
                "personal-filter",
                f"{column} ({', '.join(sorted(fields))}) decides rows: {condition[:80]}; leave it out, or say why in"
                f" the model's meta, {FILTERS}",
            )


def _ends(node: Mapping[str, Any], column: str) -> bool:
    kind = (node.get("columns", {}).get(column, {}).get("data_type") or "").lower()
    is_text = not kind or "char" in kind or "text" in kind or "[" in kind or "json" in kind or "blob" in kind
    return not is_text or SANITISED in _meta(node, column)


def _meta(node: Mapping[str, Any], column: str) -> Mapping[str, Any]:
    entry = node.get("columns", {}).get(column, {})
    return {**(entry.get("meta") or {}), **((entry.get("config") or {}).get("meta") or {})}
