"""Hot clicks: each link's share of clicks, on the delivery's own HTML."""

import pandas as pd
import streamlit as st

from reports.hot_clicks import Badge, drawn, framed
from reports.tables import Column, columns, show_heading, show_message, show_table
from reports.view import View

FRAME_HEIGHT = 760


def show(view: View, delivery_id: int) -> None:
    language = view.language
    links = view.rows("delivery/hot_clicks", delivery_id=delivery_id, human=view.human)
    content = (
        view.row("delivery/content", delivery_id=delivery_id)
        if view.snapshot.has("core.dim_delivery_contents")
        else None
    )
    show_heading(language("delivery_hot"), language("hot_note"))
    if content is None or not content["html_content"]:
        show_message(language("no_content"))
    else:
        body = _drawn(content["html_content"], _badges(view, links))
        st.iframe(framed(body, language("hot_frame"), language.code), height=FRAME_HEIGHT, alt=language("hot_frame"))
    show_table(
        view,
        links,
        [
            Column("link_position", language.indicator("link_position"), "count"),
            Column("label", language("link_line")),
            Column("url", language.indicator("url"), "url"),
            *columns(view, "click_count", "click_share", "is_drawn", click_share="bar"),
        ],
        language("hot_caption"),
        export=f"hot_clicks_{delivery_id}",
    )


def _badges(view: View, links: pd.DataFrame) -> dict[int, Badge]:
    language = view.language
    shown = links[links["is_drawn"] & links["is_in_content"]]
    most = max(shown["click_share"].fillna(0.0), default=0.0) or 1.0
    return {
        int(row["link_position"]): Badge(
            language.rate(0 if pd.isna(row["click_share"]) else row["click_share"]),
            0.0 if pd.isna(row["click_share"]) else float(row["click_share"]) / most,
            language("hot_badge", label=row["label"], count=language.count(row["click_count"])),
        )
        for row in shown.to_dict("records")
    }


@st.cache_data(show_spinner=False, max_entries=50)
def _drawn(content: str, badges: dict[int, Badge]) -> str:
    return drawn(content, badges)
