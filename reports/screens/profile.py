"""One recipient: search, tracking log, deliveries, subscriptions."""

from collections.abc import Callable
from typing import Any

import streamlit as st

from reports.controls import ROWS, choose_part, choose_text, page_offset
from reports.tables import (
    MAX_EXPORTED,
    Column,
    columns,
    export_button,
    show_facts,
    show_message,
    show_table,
    show_title,
)
from reports.view import View, as_id

LOG_COLUMNS = (
    "occurred_at",
    "url_type_label",
    "label",
    "url",
    "delivery_label",
    "device_class",
    "is_machine",
    "machine_rule",
)
HIDDEN_AT_FIRST = ("url", "machine_rule")


def show(view: View) -> None:
    language = view.language
    asked = st.query_params.get("recipient_id")
    recipient_id = as_id(asked)
    recipient = None if recipient_id is None else view.row("profile/recipient", recipient_id=recipient_id)
    if recipient is None:
        show_title(language("page_profile"))
        if asked:
            show_message(
                language("profile_bad_id") if recipient_id is None else language("profile_unknown", id=recipient_id)
            )
        _search(view, asked_nothing=not asked)
        return
    show_title(recipient["recipient_label"] or "", above=language("recipient_id_word", id=recipient_id))
    show_facts(
        [
            (language("address"), recipient["email"] or ""),
            (language.indicator("language"), recipient["language"] or ""),
            (language("created"), language.time(recipient["created_at"])),
            (language("denylisted"), language("yes") if recipient["is_denylisted"] else language("no")),
        ]
    )
    parts: dict[str, Callable[[View, int], None]] = {
        "log": _log,
        "deliveries": _deliveries,
        "subscriptions": _subscriptions,
    }
    part = choose_part(view, list(parts), "profile", "profile_part")
    parts[part](view, int(recipient["recipient_id"]))
    _search(view, asked_nothing=False)


def _search(view: View, *, asked_nothing: bool) -> None:
    language = view.language
    # With masked data, a part of an address would find out the rest of it.
    partly = view.settings.show_personal_data
    # Not part of the address: addresses of people do not belong in a browser's history or a proxy's log.
    search = st.text_input(
        language("search_profile_partly" if partly else "search_profile"),
        key="profile_search",
        max_chars=320,
        type="search",
    ).strip()
    if not search:
        if asked_nothing:
            show_message(language("profile_missing"))
        return
    partly = partly and len(search) >= 3
    known = view.snapshot.identities.recipients(search, partly=partly)
    found = view.rows("profile/search", search=search, partly=partly, known=known)
    if found.empty:
        show_message(language("profile_not_found"))
        return
    show_table(
        view,
        found,
        [
            Column("recipient_id", language.indicator("recipient_id"), page="profile", page_id="recipient_id"),
            *columns(view, "recipient_label", "email", "language", "created_at"),
        ],
        language("profiles_found"),
    )


def _log(view: View, recipient_id: int) -> None:
    language = view.language
    received = view.rows("profile/deliveries", recipient_id=recipient_id, human=view.human)
    ids = sorted({int(number) for number in received["delivery_id"]})
    with st.container(horizontal=True):
        kind = choose_text(view, "kind", list(view.rows("url_types")["url_type_label"]), "profile_kind")
        only = as_id(choose_text(view, "only_delivery", [str(number) for number in ids], "profile_delivery"))
        chosen = st.multiselect(
            language("columns_shown"),
            LOG_COLUMNS,
            default=[name for name in LOG_COLUMNS if name not in HIDDEN_AT_FIRST],
            format_func=language.indicator,
            key="profile_columns",
        )
    asked: dict[str, Any] = {"recipient_id": recipient_id, "type": kind, "delivery_id": only, "human": view.human}
    found = view.row("profile/log_count", **asked)
    count = int(found["event_count"]) if found else 0
    skipped = page_offset(view, count, "profile_page")
    special = {
        "url": Column("url", language.indicator("url"), "url"),
        "delivery_label": Column("delivery_label", language("page_delivery"), page="delivery", page_id="delivery_id"),
    }
    shown = [special.get(name) or columns(view, name)[0] for name in LOG_COLUMNS if name in chosen] or columns(
        view, "occurred_at"
    )
    show_table(
        view,
        view.deliveries(view.rows("profile/log", **asked, rows=ROWS, skipped=skipped)),
        shown,
        language("log_caption", count=language.count(count)),
    )
    export_button(
        view,
        lambda: view.many_rows("profile/log", **asked, rows=MAX_EXPORTED, skipped=0),
        shown,
        f"profile_{recipient_id}",
    )


def _deliveries(view: View, recipient_id: int) -> None:
    language = view.language
    show_table(
        view,
        view.deliveries(view.rows("profile/deliveries", recipient_id=recipient_id, human=view.human)),
        [
            Column("delivery_label", language("page_delivery"), page="delivery", page_id="delivery_id"),
            *columns(view, "event_at", "status_label", "failure_label", "open_count", "click_count"),
        ],
        language("deliveries_caption"),
        export=f"profile_deliveries_{recipient_id}",
    )


def _subscriptions(view: View, recipient_id: int) -> None:
    show_table(
        view,
        view.rows("profile/subscriptions", recipient_id=recipient_id),
        columns(view, "service_label", "occurred_at", "is_subscription"),
        view.language("subscriptions_caption"),
        export=f"profile_subscriptions_{recipient_id}",
    )
