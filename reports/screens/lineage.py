"""Lineage: which landed fields a column of a report is made of or chosen by, and which of them are personal."""

import pandas as pd
import streamlit as st

from reports.controls import choose_listed
from reports.tables import columns, show_message, show_table, show_title
from reports.text import visible
from reports.view import View

MOST_ROWS = 500
_COLOURS = {
    "landed": "#f3f4f6",
    "staging": "#f3f4f6",
    "intermediate": "#e8eef5",
    "core": "#dbe7f3",
    "reports": "#c5d9ec",
}
_PERSONAL = "#b3261e"


def show(view: View) -> None:
    language = view.language
    show_title(language("page_lineage"))
    if not view.snapshot.has("meta.personal_fields"):
        show_message(language("lineage_absent"))
        return
    known = view.rows("lineage/columns")
    mart = choose_listed(language("lineage_mart"), sorted(known["mart"].unique()), "mart", "rpt_tracking_indicators")
    own = sorted(known.loc[known["mart"] == mart, "column_name"])
    column = choose_listed(language("column"), own, "column", own[0])
    rows = view.rows("lineage/edges", mart=mart, column=column)
    personal = sorted({f"{row.source_table}.{row.source_column}" for row in rows.itertuples() if row.is_personal})
    show_message(
        language("lineage_personal", fields=", ".join(personal)) if personal else language("lineage_not_personal")
    )
    if not rows.empty:
        st.graphviz_chart(drawing(rows, f"reports.{mart}"), width="stretch")
    show_table(
        view,
        rows.head(MOST_ROWS),
        columns(
            view,
            *("step_number", "table_name", "column_name", "use", "source_table", "source_column", "condition"),
            "is_personal",
            step_number="count",
        ),
        language("lineage_caption", mart=mart, column=column),
        export="lineage",
        export_rows=rows,
    )


def drawing(rows: pd.DataFrame, table: str) -> str:
    """The tables on the way as a graph in DOT, coloured by layer; landed ones with their personal fields, in red. An
    arrow is dashed where a table only decides which rows count."""
    names = {table}
    arrows: dict[tuple[str, str], bool] = {}
    personal: dict[str, set[str]] = {}
    for row in rows.itertuples():
        names.add(row.source_table)
        pair = row.source_table, row.table_name
        arrows[pair] = arrows.get(pair, True) and row.use == "rows"
        if row.is_personal:
            personal.setdefault(row.source_table, set()).add(row.source_column)
    lines = [
        "digraph lineage {",
        'rankdir=TB; nodesep=0.12; ranksep=0.35; node [shape=box, style="filled,rounded", fontname="sans-serif",'
        ' fontsize=16, margin="0.1,0.05"]; edge [color="#6b7785"];',
    ]
    for name in sorted(names):
        layer, _, bare = name.partition(".")
        text = "\\n".join([_dot(bare), *(f"● {_dot(field)}" for field in sorted(personal.get(name, ())))])
        edge = _PERSONAL if name in personal else "#6b7785"
        lines.append(f'"{_dot(name)}" [label="{text}", color="{edge}", fillcolor="{_COLOURS.get(layer, "#ffffff")}"];')
    for (source, target), only_rows in sorted(arrows.items()):
        style = ' [style="dashed"]' if only_rows else ""
        lines.append(f'"{_dot(source)}" -> "{_dot(target)}"{style};')
    return "\n".join([*lines, "}"])


def _dot(text: str) -> str:
    """A name inside a quoted text of DOT."""
    return visible(text).replace("\\", "\\\\").replace('"', '\\"')
