"""Opens, clicks and transactions over time: a chart and its export, for one delivery or all."""

import pandas as pd

from reports import charts
from reports.tables import Column, columns, export_button, show_message
from reports.view import View

KINDS = {"open_count": "opens", "click_count": "clicks", "transaction_count": "transactions"}


def show_activity(view: View, rows: pd.DataFrame, minutes: int, *, export: str) -> None:
    """rows: local_at and a count of each kind, one row per step of so many minutes."""
    language = view.language
    if rows.empty:
        show_message(f"{language('activity')}: {language('nothing_here')}")
        return
    long = rows.melt("local_at", list(KINDS), "series", "count")
    long["series"] = long["series"].map({name: language(word) for name, word in KINDS.items()})
    long = charts.every_step(long, "local_at", "series", "count", f"{minutes}min")
    charts.over_time(
        view.language,
        long,
        "local_at",
        "count",
        "series",
        alt_text=language("activity_alt"),
        labels=(language("time"), language("number"), language("kind")),
        daily=minutes >= 1440,
    )
    export_button(view, rows, [Column("local_at", language("time"), "wall_clock"), *columns(view, *KINDS)], export)
