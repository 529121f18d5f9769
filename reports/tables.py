"""Tables, cards, headings: HTML of our own, in which every value is escaped.

Belongs here: how rows look. Does not: which rows. HTML and not the grid of the framework, because it can be read by
screen readers, printed as a whole and shown on a phone; and not st.table, which renders Markdown.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import streamlit as st

from reports.language import NOTHING
from reports.text import csv_bytes, escaped, shortened
from reports.view import View

Kind = Literal[
    "text", "written", "url", "count", "rate", "bar", "amount", "duration", "time", "wall_clock", "day", "yes", "spark"
]
NUMBERS = ("written", "count", "rate", "bar", "amount", "duration")
MAX_EXPORTED = 100_000


@dataclass(frozen=True)
class Column:
    """A column of a table. label: what the header says. page, page_id: a link, by the id in another column.

    kind: "written" is a number that is text already, "bar" a rate (0–1) drawn as a bar too, "spark" a list of numbers;
    times are UTC, wall_clock is local.
    """

    name: str
    label: str
    kind: Kind = "text"
    page: str = ""
    page_id: str = ""


def columns(view: View, *names: str, **kinds: Kind) -> list[Column]:
    """Columns labelled as indicators; kinds by name, else told by the name."""
    return [Column(name, view.language.indicator(name), kinds.get(name) or kind_of(name)) for name in names]


def kind_of(name: str) -> Kind:
    """How a column of the marts is shown, by its name's ending."""
    endings: dict[str, Kind] = {
        "_count": "count", "_rate": "rate", "_share": "rate", "reactivity": "rate", "_at": "time", "_on": "day",
        "_seconds": "duration", "_amount": "amount",
    }  # fmt: skip
    if name.startswith(("is_", "has_")):
        return "yes"
    if name.startswith("share_of_"):
        return "rate"
    return next((kind for ending, kind in endings.items() if name.endswith(ending)), "text")


def show_table(
    view: View,
    rows: pd.DataFrame,
    shown: Sequence[Column],
    caption: str,
    *,
    export: str = "",
    export_rows: pd.DataFrame | None = None,
    export_columns: Sequence[Column] | None = None,
) -> None:
    """A table with its caption.

    export: file name of its CSV, without ending; export_rows, export_columns: where those are not the ones shown.
    """
    if rows.empty:
        st.html(f'<p class="mtw-empty">{escaped(caption)}: {escaped(view.language("nothing_here"))}</p>')
        return
    head = "".join(f'<th scope="col"{_class(column)}>{escaped(column.label)}</th>' for column in shown)
    body = "".join(
        "<tr>" + "".join(_cell(view, column, row, first=n == 0) for n, column in enumerate(shown)) + "</tr>"
        for row in rows.to_dict("records")
    )
    st.html(
        f'<div class="mtw-scroll" role="region" tabindex="0" aria-label="{escaped(caption)}">'
        f'<table class="mtw-table"><caption>{escaped(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
    if export:
        export_button(view, rows if export_rows is None else export_rows, export_columns or shown, export)


def export_button(
    view: View, rows: pd.DataFrame | Callable[[], pd.DataFrame], shown: Sequence[Column], name: str
) -> None:
    """A button that saves the rows as CSV: plain numbers, times in the reporting zone.

    Rows may be a function: it is asked on the click.
    """
    st.download_button(
        view.language("export"),
        data=lambda: csv_bytes(_exported(view, rows() if callable(rows) else rows, shown)),
        file_name=f"{name}.csv",
        mime="text/csv",
        key=f"export_{name}",
        on_click="ignore",
        icon=":material/download:",
    )


def _exported(view: View, rows: pd.DataFrame, shown: Sequence[Column]) -> pd.DataFrame:
    def value(column: Column) -> pd.Series:
        found = rows[column.name]
        return found.map(lambda moment: _local_text(view, moment)) if column.kind == "time" else found

    kept = [column for column in shown if column.kind != "spark"]
    ids = [column.page_id for column in kept if column.page_id]
    return pd.concat(
        [*(value(column).rename(column.name) for column in kept), *(rows[name] for name in ids)], axis="columns"
    )


def _local_text(view: View, moment: Any) -> str:
    local = view.language.local(moment)
    return "" if local is None else local.isoformat(" ", "seconds")


def show_cards(view: View, cards: Sequence[tuple[str, str, str]]) -> None:
    """The main numbers: (label, value, remark)."""
    st.html(
        '<dl class="mtw-cards">'
        + "".join(
            f"<div><dt>{escaped(label)}</dt><dd>{escaped(value)}"
            + (f"<small>{escaped(remark)}</small>" if remark else "")
            + "</dd></div>"
            for label, value, remark in cards
        )
        + "</dl>"
    )


def show_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Short facts about one thing, side by side; those without a value are left out."""
    st.html(
        '<dl class="mtw-facts">'
        + "".join(
            f"<div><dt>{escaped(label)}</dt><dd>{escaped(value)}</dd></div>"
            for label, value in facts
            if value not in ("", NOTHING)
        )
        + "</dl>"
    )


def show_title(text: str, above: str = "") -> None:
    """The page's heading; any text, nothing in it is Markdown."""
    over = f'<p class="mtw-above">{escaped(above)}</p>' if above else ""
    st.html(f'{over}<h1 class="mtw-title">{escaped(shortened(text, 160))}</h1>')


def show_heading(text: str, remark: str = "") -> None:
    """The heading of a part of a page, with a sentence below it."""
    st.html(
        f'<h2 class="mtw-heading">{escaped(text)}</h2>'
        + (f'<p class="mtw-remark">{escaped(remark)}</p>' if remark else "")
    )


def show_message(text: str) -> None:
    """Says in a sentence what is missing, and what to do."""
    st.html(f'<p class="mtw-message" role="status">{escaped(text)}</p>')


def _cell(view: View, column: Column, row: dict[Any, Any], *, first: bool) -> str:
    value = row[column.name]
    if column.kind == "spark":
        content = _spark(value)
    elif column.kind == "bar":
        share = 0.0 if pd.isna(value) else min(max(float(value), 0.0), 1.0)
        content = (
            f'<span class="mtw-bar"><span style="width:{100 * share:.1f}%"></span></span>'
            f'<span class="mtw-bar-value">{escaped(view.language.rate(value))}</span>'
        )
    elif column.kind == "url":
        content = NOTHING if pd.isna(value) else f'<span title="{escaped(value)}">{escaped(shortened(value))}</span>'
    else:
        content = escaped(_text(view, column.kind, value))
    if column.page and not pd.isna(row[column.page_id]) and int(row[column.page_id]) != 0:
        content = (
            f'<a href="{escaped(view.path(column.page, **{column.page_id: int(row[column.page_id])}))}">{content}</a>'
        )
    if first:
        return f'<th scope="row"{_class(column)}>{content}</th>'
    return f"<td{_class(column)}>{content}</td>"


def _text(view: View, kind: Kind, value: Any) -> str:
    language = view.language
    if kind == "yes":
        return NOTHING if pd.isna(value) else language("yes" if value else "no")
    writers = {
        "count": language.count, "rate": language.rate, "amount": language.amount, "duration": language.duration,
        "time": language.time, "wall_clock": language.wall_clock, "day": language.day,
    }  # fmt: skip
    if kind in writers:
        return writers[kind](value)
    return NOTHING if pd.isna(value) else str(value)


def _spark(values: Any) -> str:
    """A row of small bars. For eyes only: the numbers stand beside it."""
    numbers = (
        [0.0 if pd.isna(value) else float(value) for value in values]
        if isinstance(values, Sequence) or hasattr(values, "__iter__")
        else []
    )
    top = max(numbers, default=0.0) or 1.0
    bars = "".join(
        f'<span style="height:{max(round(100 * number / top), 4 if number else 0)}%"></span>' for number in numbers
    )
    return f'<span class="mtw-spark" aria-hidden="true">{bars}</span>'


def _class(column: Column) -> str:
    kinds = {"bar": "barcell", "time": "time", "wall_clock": "time", "day": "time", "url": "url"}
    name = "number" if column.kind in NUMBERS and column.kind != "bar" else kinds.get(column.kind, "")
    return f' class="mtw-{name}"' if name else ""
