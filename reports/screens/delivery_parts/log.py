"""The delivery's tracking log, a page at a time."""

from typing import Any

from reports.controls import ROWS, choose_text, page_offset
from reports.tables import MAX_EXPORTED, Column, columns, export_button, show_table
from reports.view import View


def show(view: View, delivery_id: int) -> None:
    language = view.language
    kind = choose_text(view, "kind", list(view.rows("url_types")["url_type_label"]), "log_kind")
    asked: dict[str, Any] = {"delivery_id": delivery_id, "type": kind, "human": view.human}
    found = view.row("delivery/log_count", **asked)
    count = int(found["event_count"]) if found else 0
    skipped = page_offset(view, count, "log_page")
    shown = [
        *columns(view, "occurred_at", "url_type_label", "label"),
        Column("url", language.indicator("url"), "url"),
        Column("recipient_label", language.indicator("recipient_label"), page="profile", page_id="recipient_id"),
        *columns(view, "device_class", "is_machine", "machine_rule"),
    ]
    show_table(
        view,
        view.rows("delivery/log", **asked, rows=ROWS, skipped=skipped),
        shown,
        language("log_caption", count=language.count(count)),
    )
    export_button(
        view,
        lambda: view.many_rows("delivery/log", **asked, rows=MAX_EXPORTED, skipped=0),
        shown,
        f"tracking_log_{delivery_id}",
    )
