"""The list of deliveries: search, state, rates, what happened in the first two days."""

from typing import Any

import pandas as pd
import streamlit as st

from reports.controls import choose, page_offset
from reports.tables import Column, columns, export_button, show_cards, show_message, show_table, show_title
from reports.view import View

ROWS = 25


def show(view: View) -> None:
    language = view.language
    show_title(language("page_dashboard"))
    search = st.text_input(
        language("search_delivery"), key="q", bind="query-params", max_chars=200, type="search"
    ).strip()
    order = choose(view, "order", {code: f"order_{code}" for code in ("newest", "opens", "clicks", "label")}, "order")
    parameters: dict[str, Any] = {"search": search, "order": order, "human": view.human}
    first = view.row("dashboard/deliveries", **parameters, rows=1, skipped=0)
    if first is None:
        show_message(language("no_delivery_found"))
        return
    count = int(first["found_count"])
    show_cards(
        view,
        [
            (language("found_deliveries"), language.count(count), ""),
            (language("found_delivered"), language.count(first["found_success_count"]), ""),
        ],
    )
    skipped = page_offset(view, count, "dashboard_page", ROWS)
    rows = _with_status(view, view.rows("dashboard/deliveries", **parameters, rows=ROWS, skipped=skipped))
    lines = view.rows("dashboard/sparklines", ids=[int(number) for number in rows["delivery_id"]], human=view.human)
    rows["sparkline"] = rows["delivery_id"].map(dict(zip(lines["delivery_id"], lines["sparkline"], strict=True)))
    rows["sparkline"] = rows["sparkline"].map(
        lambda line: [] if line is None or isinstance(line, float) else list(line)
    )
    shown = [
        Column("delivery_label", language("page_delivery"), page="delivery", page_id="delivery_id"),
        Column("campaign_label", language("campaign")),
        Column("sent_at", language("sent_at"), "time"),
        Column("status", language("status")),
        Column("sparkline", language("first_two_days"), "spark"),
        *columns(view, "to_deliver_count", "success_rate", "open_rate", "click_rate", "raw_reactivity"),
    ]
    show_table(view, rows, shown, language("dashboard_caption"))
    export_button(
        view,
        lambda: _with_status(view, view.many_rows("dashboard/deliveries", **parameters, rows=10_000, skipped=0)),
        shown,
        "deliveries",
    )


def _with_status(view: View, rows: pd.DataFrame) -> pd.DataFrame:
    return view.deliveries(rows).assign(status=[_status(view, row) for row in rows.to_dict("records")])


def _status(view: View, row: dict[Any, Any]) -> str:
    progress = row["sending_progress"]
    if row["is_proof"]:
        return view.language("status_proof")
    if pd.isna(progress):
        return view.language("status_none")
    if progress == 0:
        return view.language("status_preparing")
    return (
        view.language("status_sent")
        if progress >= 1
        else view.language("status_sending", share=view.language.rate(progress))
    )
