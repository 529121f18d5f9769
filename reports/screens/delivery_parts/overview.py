"""Tracking indicators, summary, exclusions, activity over time."""

from typing import Any

import pandas as pd
import streamlit as st

from reports.controls import choose
from reports.screens.activity import show_activity
from reports.tables import Column, columns, show_cards, show_heading, show_table
from reports.text import escaped
from reports.view import View


def show(view: View, delivery_id: int) -> None:
    language = view.language
    indicators = view.rows("delivery/indicators", delivery_id=delivery_id)
    _cards(view, indicators)
    _indicators(view, indicators)
    summary = view.rows("delivery/summary", delivery_id=delivery_id)
    show_table(view, summary, _numbers_first(view, summary), language("summary"), export=f"summary_{delivery_id}")
    exclusions = view.rows("delivery/exclusions", delivery_id=delivery_id)
    show_table(
        view,
        exclusions,
        columns(view, "failure_label", "message_count", "share_of_rejected", share_of_rejected="bar"),
        language("exclusions_caption"),
        export=f"exclusions_{delivery_id}",
    )
    show_heading(language("activity"))
    minutes = int(choose(view, "step", {code: f"step_{code}" for code in ("30", "60", "1440")}, "step", "60"))
    rows = view.rows("delivery/activity", delivery_id=delivery_id, minutes=minutes, human=view.human)
    show_activity(view, rows, minutes, export=f"activity_{delivery_id}")


def _numbers_first(view: View, summary: pd.DataFrame) -> list[Column]:
    return columns(view, *map(str, summary.columns))


def _cards(view: View, indicators: pd.DataFrame) -> None:
    """The numbers that people ask for first, by the switch."""
    language = view.language
    values: dict[str, Any] = {}
    for row in indicators.to_dict("records"):
        human = row["human_value"] if view.human and not pd.isna(row["human_value"]) else row["value"]
        values[row["name"]] = None if pd.isna(human) else human

    def share(name: str, of: str, words: str) -> str:
        part, whole = values.get(name), values.get(of)
        return language(words, rate=language.rate(part / whole)) if part is not None and whole else ""

    show_cards(
        view,
        [
            (language.indicator(name), language.count(values.get(name)), share(name, of, words))
            for name, of, words in (
                ("success_count", "to_deliver_count", "of_to_deliver"),
                ("recipient_open_count", "success_count", "of_delivered"),
                ("recipient_click_count", "recipient_open_count", "of_opens"),
                ("total_click_count", "", ""),
                ("opt_out_click_count", "success_count", "of_delivered"),
                ("error_count", "to_deliver_count", "of_to_deliver"),
            )
        ],
    )


def _indicators(view: View, indicators: pd.DataFrame) -> None:
    language = view.language

    def written(value: Any, unit: str) -> str:
        if unit == "ratio":
            return language.rate(value)
        return language.amount(value) if not pd.isna(value) and float(value) != int(value) else language.count(value)

    rows = pd.DataFrame(
        {
            "name": row["name"],
            "label": language.indicator(row["name"]),
            "all_text": written(row["value"], row["unit"]),
            "human_text": written(row["human_value"], row["unit"]),
        }
        for row in indicators.to_dict("records")
    )
    shown = [
        Column("label", language("indicator")),
        Column("all_text", language("events_all"), "written"),
        Column("human_text", language("events_human"), "written"),
    ]
    raw = indicators.assign(label=[language.indicator(name) for name in indicators["name"]])
    show_table(
        view,
        rows,
        shown,
        language("indicators"),
        export="indicators",
        export_rows=raw,
        export_columns=[
            Column("name", ""),
            Column("label", ""),
            Column("value", "", "amount"),
            Column("human_value", "", "amount"),
            Column("definition", ""),
        ],
    )
    with st.expander(language("definitions")):
        items = "".join(
            f"<dt><strong>{escaped(language.indicator(row['name']))}</strong>"
            f" <small>({escaped(row['name'])})</small></dt>"
            f"<dd>{escaped(row['definition'])}</dd>"
            for row in indicators.to_dict("records")
        )
        st.html(f"<dl>{items}</dl>")
