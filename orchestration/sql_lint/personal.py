"""Personal fields that reach a published column, or decide which rows a model has.

Belongs here: following the landed personal fields upwards through the column lineage. Does not: which fields are
personal (log_ingest.catalog), or masking them (orchestration.identifiers, the report pages).

A column says in its meta what becomes of what is personal:

    sanitised: "why"    made of a personal field and nothing personal itself: its domain, a digest, a word of ours
    personal: "why"     shown on purpose, to those who need it
    masked: hidden      how it is published to all others: orchestration.identifiers

and a model says in its meta which personal columns may filter, join or group its rows:

    personal_filters: {visitor_id: "why"}

Numbers, times and booleans of a contract hold no name, address or identifier of a visitor, and end the way.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from orchestration.lineage import FORMULA, ROWS, Edge, Table

SANITISED, PERSONAL, MASKED, FILTERS = "sanitised", "personal", "masked", "personal_filters"
MARTS = ("core", "reports")

Column = tuple[Table, str]


def followed(
    edges: Iterable[Edge], personal: Iterable[Column], declared: Mapping[Table, Mapping[str, Any]]
) -> tuple[dict[Column, set[str]], dict[tuple[Table, str], tuple[set[str], str]]]:
    """What landed fields reach: by column, the names of the fields; by model and column that decides which rows it has,
    their names and the condition. declared: by table, the manifest's entry of the model.
    """
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
    return origins, filters


def reached(
    edges: Iterable[Edge], personal: Iterable[Column], declared: Mapping[Table, Mapping[str, Any]]
) -> Iterator[tuple[Table, str, str]]:
    """(model, rule, what is wrong)."""
    origins, filters = followed(edges, personal, declared)
    for (table, column), fields in sorted(origins.items()):
        said = meta_of(declared[table], column) if table in declared else {}
        if table[0] in MARTS and not {PERSONAL, MASKED} <= set(said):
            yield (
                table,
                "personal-column",
                f"{column} shows {', '.join(sorted(fields))}: leave it out, or say in its meta why it is personal, and"
                " how it is masked, or why it is sanitised",
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
    is_text = not kind or any(part in kind for part in ("char", "text", "string", "[", "json", "blob"))
    return not is_text or SANITISED in meta_of(node, column)


def meta_of(node: Mapping[str, Any], column: str) -> Mapping[str, Any]:
    """What a model's entry in the manifest says in the meta of a column."""
    entry = node.get("columns", {}).get(column, {})
    return {**(entry.get("meta") or {}), **((entry.get("config") or {}).get("meta") or {})}
