"""URLs and click streams: rates beside the platform's, clicks per link, clicks per day."""

from typing import Any

import streamlit as st

from reports import charts
from reports.controls import choose
from reports.tables import Column, columns, show_cards, show_heading, show_message, show_table
from reports.view import View

RATES = ("reactivity", "distinct_click_rate", "cumulated_click_rate")


def show(view: View, delivery_id: int) -> None:
    language = view.language
    _rates(view, delivery_id)
    with st.container(horizontal=True):
        by = choose(view, "links_by", {code: f"by_{code}" for code in ("label", "url", "category")}, "by")
        hours = int(choose(view, "since", {code: f"hours_{code}" for code in ("0", "6", "24", "48", "168")}, "hours"))
        top = int(choose(view, "top", {code: f"top_{code}" for code in ("10", "20", "50")}, "top"))
    asked: dict[str, Any] = {"delivery_id": delivery_id, "by": by, "hours": hours or None, "human": view.human}
    rows = view.rows("delivery/links", **asked, top=top)
    rows["line"] = [
        language("others") if row["is_others"] else row["line"] or language("no_category")
        for row in rows.to_dict("records")
    ]
    show_table(
        view,
        rows,
        [
            Column("line", language("link_line") if by != "category" else language("by_category"), "url"),
            *columns(view, "click_count", "click_share", click_share="bar"),
        ],
        language("links_caption"),
        export=f"links_{delivery_id}",
    )
    daily = view.rows("delivery/links_daily", **asked, top=charts.MAX_SERIES, zone=view.settings.time_zone)
    if not daily.empty:
        show_heading(language("clicks_daily"), language("links_note"))
        daily["line"] = [
            charts.series_name(int(row["position"]), row["line"] or language("no_category"))
            for row in daily.to_dict("records")
        ]
        charts.over_time(
            language,
            charts.every_step(daily, "clicked_on", "line", "click_count", "D"),
            "clicked_on",
            "click_count",
            "line",
            alt_text=language("clicks_daily_alt"),
            labels=(language("day"), language("clicks"), language("link_line")),
            daily=True,
        )


def _rates(view: View, delivery_id: int) -> None:
    language = view.language
    if not view.snapshot.has("reports.rpt_delivery_rates.human_reactivity"):
        show_message(language("rates_absent"))
        return
    rates = view.row("delivery/rates", delivery_id=delivery_id, human=view.human)
    if rates is None:
        return
    show_heading(
        language("rates_header"),
        language("platform_average_note", count=language.count(rates["platform_delivery_count"])),
    )
    show_cards(
        view,
        [
            (
                language.indicator(name),
                language.rate(rates[name]),
                language("platform_average", rate=language.rate(rates[f"platform_average_{name}"])),
            )
            for name in RATES
        ],
    )
