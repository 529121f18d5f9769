"""The pages of docs/reports: one for each report mart, and an index.

Belongs here: how a page is laid out, and what of the texts has to be escaped. Does not: anything that a page says of
one report (its YAML) or of an indicator (the catalogue).
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from report_docs.reports import Column, Report

HEADING = "<!-- Made by `make docs` from {source} and the indicator catalogue: edit those. -->"
SAMPLE_EVENTS = 20_000
SAMPLE_SEED = 20240501
"""What the pictures are drawn from. Here, because the pages say so."""

DECISIONS = "../decisions.md#where-the-reference-contradicts-itself"

INDEX = """\
# Reports

What each report mart answers, and how to read it. The tables are in schema `reports` of the published database
(`$MTW_WAREHOUSE_DIR/published/marts.duckdb`) and, as Parquet, in `published/marts/reports/`.

{table}

## How to read a page

* **Indicators** are defined once, in
  [`dbt_project/seeds/indicator_catalogue.csv`](../../dbt_project/seeds/indicator_catalogue.csv), and published as
  `meta.indicator_catalogue`. Pages, column comments and `mtw explain` say what stands there.
* `human_…` is the same number without the events that the machine rules judge machine-made.
* A **ratio** is a number (0.25, not 25 %) and NULL where its denominator is 0.
* **Additive** means over the rows of the report. What is not additive has to be counted anew:
  [`rpt_tracking_rollups`](rpt_tracking_rollups.md) does so for campaigns, days, weeks, months and all. A ratio over
  several rows is the sum of its numerators over the sum of its denominators, where both are additive; an average of
  ratios is not.
* **D1** … **D6** name decisions where the reference system contradicts itself:
  [decisions]({decisions}).
* Times are UTC unless a column says otherwise.
* **Pictures** are the result of the page's example query for the sample that
  `mtw sample --events {events} --seed {seed}` writes. Example queries run as they are on any published database.

`make docs` writes these pages and pictures; a test compares the pages with what they are made from. A report of your
own: [add-your-own-report.md](../add-your-own-report.md).
"""


def picture_of(report: Report) -> str:
    """The name of its picture's file, beside the pages."""
    return f"{report.name}.svg"


def render_all(reports: Sequence[Report], folder: Path) -> dict[str, str]:
    """The text of every page by file name. folder: where the pictures are; a page says where it has none."""
    names = {report.name for report in reports}
    drawn = {report.name for report in reports if (folder / picture_of(report)).is_file()}
    pages = {f"{report.name}.md": _page(report, names, report.name in drawn) for report in reports}
    return {"README.md": _index(reports, names, drawn), **pages}


def _index(reports: Sequence[Report], names: set[str], drawn: set[str]) -> str:
    rows = [
        (
            f"[{report.name}]({report.name}.md)",
            prose(report.question, names),
            prose(report.grain, names),
            # HTML, because Markdown cannot say how wide.
            f'<a href="{report.name}.md"><img src="{picture_of(report)}" width="180" alt="{report.name}"></a>'
            if report.name in drawn
            else "",
        )
        for report in reports
    ]
    text = INDEX.format(
        table=_table(("report", "question", "grain: one row per …", "picture"), _short(rows)),
        events=SAMPLE_EVENTS,
        seed=SAMPLE_SEED,
        decisions=DECISIONS,
    )
    return f"{HEADING.format(source='dbt_project/models/marts/reports/*.yml')}\n{text}"


def _short(rows: Iterable[tuple[str, str, str, str]]) -> list[tuple[str, str, str, str]]:
    return [(name, question, grain.removeprefix("one row per "), picture) for name, question, grain, picture in rows]


def _page(report: Report, names: set[str], is_drawn: bool) -> str:
    others = [column for column in report.columns if column.indicator is None]
    measures = [column for column in report.columns if column.indicator is not None]
    picture = (
        f"![{report.chart['title']}]({picture_of(report)})\n\nThe result of the [example query](#example-query) for the"
        f" [sample](README.md#how-to-read-a-page)."
        if is_drawn
        else "No picture yet: the sample has no rows for this report."
    )
    parts = [
        HEADING.format(source=report.source),
        f"# {report.name}",
        f"**Question.** {prose(report.question, names)}",
        f"**For.** {prose(report.audience, names)}",
        f"**Grain.** {_sentence(prose(report.grain, names))}",
        picture,
        prose(report.notes, names),
        *(
            ["## Caveats", "\n".join(f"* {prose(caveat, names)}" for caveat in report.caveats)]
            if report.caveats
            else []
        ),
        "## Columns",
        _table(
            ("column", "type", "meaning"),
            [(code(column.name), code(column.data_type), prose(column.text, names)) for column in others],
        ),
        *(_indicators(report, measures, names) if measures else []),
        "## Example query",
        f"```sql\n{report.example}\n```",
        "[All reports](README.md)",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _indicators(report: Report, measures: Sequence[Column], names: set[str]) -> list[str]:
    rows = []
    by_additivity: dict[str, list[str]] = {}
    for column in measures:
        assert column.indicator is not None
        by_additivity.setdefault(column.indicator["additivity"], []).append(code(column.name))
        is_shown_with_its_base = column.is_human_form and any(report.human_form(base) is column for base in measures)
        if not is_shown_with_its_base:
            human = report.human_form(column)
            shown = code(column.name) + (f"<br>{code(human.name)}" if human else "")
            rows.append(
                (shown, code(column.data_type), _formula(column, names), prose(column.indicator["unit"], names))
            )
    instead = [line for column in measures if (line := _instead(report, column))]
    return [
        "## Indicators",
        _table(("indicator", "type", "what it counts, or its formula", "unit"), rows),
        "## May it be summed?",
        _table(
            ("additivity", "columns"),
            [(prose(additivity, names), ", ".join(columns)) for additivity, columns in by_additivity.items()],
        ),
        *(["Over several rows:", "\n".join(instead)] if instead else []),
    ]


def _formula(column: Column, names: set[str]) -> str:
    row = column.indicator
    assert row is not None
    parts = [prose(row["definition"], names)]
    if row["numerator"]:
        parts.append(f"Formula: {prose(row['numerator'], names)} ÷ {prose(row['denominator'], names)}.")
    if row["reference_name"]:
        parts.append(f"In Adobe Campaign Classic: “{prose(row['reference_name'], names)}”.")
    if row["decision"]:
        named = ", ".join(f"[{name}]({DECISIONS})" for name in row["decision"].split())
        parts.append(f"Decision {named}.")
    if column.text:
        parts.append(prose(column.text, names))
    return " ".join(parts)


def _instead(report: Report, column: Column) -> str:
    """How a ratio of several rows follows from sums, where this mart holds both parts and both add up."""
    row = column.indicator
    assert row is not None
    parts = [report.column(row["numerator"]), report.column(row["denominator"])]
    if row["additivity"] != "ratio: not additive" or column.is_human_form:
        return ""
    if not all(part and part.indicator and part.indicator["additivity"] == "additive" for part in parts):
        return ""
    return f"* {code(column.name)} = sum of {code(row['numerator'])} ÷ sum of {code(row['denominator'])}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table of cells that are Markdown already."""
    lines = [f"| {' | '.join(header)} |", "|" + " --- |" * len(header)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def code(text: str) -> str:
    """As code, whatever it holds; also in a table's cell."""
    return f"`{text.replace('`', ' ').replace('|', chr(92) + '|')}`"


_TOKEN = re.compile(r"`([^`]*)`|([a-z0-9.]*\w*_\w*(?:\.\w+)*)|([\\*<>&|\[\]~#])")
_ESCAPED = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def prose(text: str, names: set[str]) -> str:
    """Plain text as Markdown: what would be markup is escaped, identifiers become code, report marts links."""

    def shown(token: re.Match[str]) -> str:
        if token[3]:
            return _ESCAPED.get(token[3], "\\" + token[3])
        name = token[1] if token[1] is not None else token[2]
        return f"[{code(name)}]({name}.md)" if name in names else code(name)

    return _TOKEN.sub(shown, " ".join(text.split()))
