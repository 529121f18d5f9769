"""An explanation as text for a terminal, as CSV or as JSON.

Belongs here: layout and escaping. Does not: finding anything out (explain). Raw lines are hostile text: on a terminal
they pass through orchestration.text, in CSV no cell can be taken for a formula, in JSON they are escaped by its rules.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, TextIO

from orchestration.explain import Explanation, Part, RawField, RawLine
from orchestration.lineage import ROWS
from orchestration.text import csv_cell, number

if TYPE_CHECKING:
    from rich.console import Console

_LONGEST = 4000

CSV_HEADER = (
    *("mart", "column", "value", "lines_total", "lines_shown", "source_file", "source_line", "counted", "line"),
)


def print_table(out: "Console", found: Explanation) -> None:
    """For people: the value, its definition, its lineage, then the lines of every number it is made of."""
    from orchestration import console as view

    keys = ", ".join(f"{name} {_shown(value)}" for name, value in found.keys.items())
    title = f"{found.mart}.{found.column}" if found.column else found.mart
    facts: list[tuple[str, object]] = [("of", keys or "all rows")]
    facts += _facts(found.parts[0]) if found.parts else []
    through = f", data through {found.data_through_at:%Y-%m-%d %H:%M:%S}" if found.data_through_at else ""
    facts.append(("version", f"{found.version:06d}, published {found.published_at:%Y-%m-%d %H:%M:%S} UTC{through}"))
    out.print(view.table(title, ("", ""), facts, _LONGEST))
    made_of = [field for field in found.fields if field.use != ROWS]
    if made_of and found.column:
        rows = [(f"landed.{field.source}", field.column, " → ".join(reversed(field.models))) for field in made_of]
        out.print(
            view.table("\nRaw fields it is made of", ("source", "field", "read by, up to the mart"), rows, _LONGEST)
        )
    elif made_of:
        # Of all columns of a mart together: their ways are those of each column by itself.
        out.print(view.table("\nRaw fields it is made of", ("source", "fields"), _by_source(made_of), _LONGEST))
    if deciding := [field for field in found.fields if field.use == ROWS]:
        title = "\nRaw fields that decide further down"
        out.print(view.table(title, ("source", "fields"), _by_source(deciding), _LONGEST))
    if found.filters:
        out.print(view.table("\nFilters, joins and groupings", ("in", "condition"), found.filters, _LONGEST))
    for part in found.parts:
        _print_part(out, part, is_first=part is found.parts[0], is_only=len(found.parts) == 1)


def _by_source(fields: Sequence[RawField]) -> list[tuple[str, str]]:
    columns: dict[str, list[str]] = {}
    for field in fields:
        columns.setdefault(field.source, []).append(field.column)
    return [(f"landed.{source}", ", ".join(names)) for source, names in columns.items()]


def _print_part(out: "Console", part: Part, *, is_first: bool, is_only: bool) -> None:
    from orchestration import console as view

    if not is_first:
        out.print(view.table(f"\n{part.mart}.{part.column}", ("", ""), _facts(part), _LONGEST))
    if part.count is None and not part.reference_entity:
        # The first one leads to those that follow.
        if is_only or not is_first:
            reason = part.without_lines or "nothing says which rows this number counts."
            out.print(view.shown(f"\nNo raw lines: {reason}"))
        return
    out.print()
    kind = "Raw lines" if part.count is not None else f"Reference rows of {part.reference_entity}, newest first"
    out.print(view.shown(f"{kind}: {part.lines_shown:,} of {part.line_count:,}"), style="bold")
    for line in part.lines:
        counted = f"  ({part.count.looked_at} {_shown(line.counted)})" if part.count and part.count.looked_at else ""
        # Whole lines, broken by the terminal alone: they can be searched and copied.
        place = view.shown(f"{line.source_file}:{line.source_line}{counted}", _LONGEST)
        out.print(place, style="dim", soft_wrap=True)
        out.print(view.shown(f"  {_text(line)}", _LONGEST), soft_wrap=True)
    if part.lines_shown < part.line_count:
        out.print(view.shown(f"… and {part.line_count - part.lines_shown:,} more: --limit N, or --format csv for all"))


def _facts(part: Part) -> list[tuple[str, object]]:
    facts: list[tuple[str, object]] = [("value", number(part.value) if part.value is not None else "NULL")]
    if part.definition:
        facts.append(("definition", part.definition))
    facts += list(part.facts.items())
    if part.count is not None:
        facts.append(("counted", f"{part.count.measure} of core.{part.count.fact} where {part.count.where}"))
        if part.count.of_row:
            facts.append(("of them", part.count.of_row))
        agrees = "the same" if part.recount == part.value else part.purged or "NOT THE SAME as the published value"
        facts.append(("counted again", f"{_shown(part.recount)}: {agrees}"))
    return facts


def write_csv(stream: TextIO, found: Explanation) -> None:
    """One row for each raw line; a number without lines has one row. No cell begins as a formula does."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for part in found.parts:
        head = (part.mart, part.column, part.value, part.line_count, part.lines_shown)
        is_empty = True
        for line in part.lines:
            is_empty = False
            row = (*head, line.source_file, line.source_line, line.counted, line.line)
            writer.writerow(map(csv_cell, row))
        if is_empty:
            writer.writerow(map(csv_cell, (*head, "", "", "", "")))


def write_json(stream: TextIO, found: Explanation) -> None:
    """Everything, as one object; lines are written as they are read."""
    head = {
        "mart": found.mart,
        "column": found.column or None,
        "keys": {name: _plain_json(value) for name, value in found.keys.items()},
        "version": found.version,
        "published_at": found.published_at.isoformat(),
        "data_through_at": found.data_through_at.isoformat() if found.data_through_at else None,
        "fields": [
            {"source": field.source, "field": field.column, "use": field.use, "models": list(reversed(field.models))}
            for field in found.fields
        ],
        "filters": [{"model": model, "condition": condition} for model, condition in found.filters],
        "models": [{"model": model, "sql": sql} for model, sql in found.models.items()],
    }
    stream.write(json.dumps(head, indent=1)[:-2] + ',\n "parts": [')
    for number_of_part, part in enumerate(found.parts):
        stream.write(",\n" if number_of_part else "\n")
        stream.write(json.dumps(_part_head(part))[:-1] + ', "lines": [')
        for number_of_line, line in enumerate(part.lines):
            stream.write(",\n  " if number_of_line else "\n  ")
            entry = {"source_file": line.source_file, "source_line": line.source_line, "line": line.line}
            if part.count is not None and part.count.looked_at:
                entry[part.count.looked_at] = _plain_json(line.counted)
            stream.write(json.dumps(entry))
        stream.write("]}")
    stream.write("]\n}\n")


def _part_head(part: Part) -> dict[str, object]:
    head: dict[str, object] = {
        "mart": part.mart,
        "column": part.column or None,
        "value": _plain_json(part.value),
        "definition": part.definition,
        **{name.replace(" ", "_"): value for name, value in part.facts.items()},
    }
    if part.count is not None:
        count = part.count
        of_row = {"of_row": count.of_row} if count.of_row else {}
        head["counted"] = {"fact": f"core.{count.fact}", "where": count.where, "measure": count.measure, **of_row}
        head["counted_again"] = _plain_json(part.recount)
        head["purged"] = part.purged or None
    if part.reference_entity:
        head["reference"] = part.reference_entity
    if part.without_lines:
        head["without_lines"] = part.without_lines
    return head | {"lines_total": part.line_count, "lines_shown": part.lines_shown}


def disagreements(found: Explanation) -> Iterator[Part]:
    """The parts whose lines do not give the published value, though none of them was purged."""
    return (part for part in found.parts if part.count is not None and part.recount != part.value and not part.purged)


def _text(line: RawLine) -> str:
    return "(no longer landed)" if line.line is None else line.line


def _shown(value: object) -> str:
    return "" if value is None else str(value)


def _plain_json(value: object) -> object:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.isoformat() if isinstance(value, date | datetime) else str(value)
