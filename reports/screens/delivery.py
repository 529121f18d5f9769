"""One delivery: its heading, and which of its parts is shown. Only that part is read."""

import streamlit as st

from reports.controls import choose_part
from reports.screens.delivery_parts import devices, failures, hot, links, log, overview, timing
from reports.tables import show_facts, show_message, show_title
from reports.text import escaped
from reports.view import View, as_id

PARTS = {
    "overview": overview.show,
    "links": links.show,
    "timing": timing.show,
    "hot": hot.show,
    "devices": devices.show,
    "failures": failures.show,
    "log": log.show,
}


def show(view: View) -> None:
    language = view.language
    asked = st.query_params.get("delivery_id")
    delivery_id = as_id(asked)
    st.html(f'<p class="mtw-above"><a href="{escaped(view.path(""))}">{escaped(language("all_deliveries"))}</a></p>')
    if delivery_id is None:
        show_title(language("page_delivery"))
        show_message(language("delivery_bad_id" if asked else "delivery_missing"))
        return
    delivery = view.row("delivery/delivery", delivery_id=delivery_id)
    if delivery is None:
        show_title(language("page_delivery"))
        show_message(language("delivery_unknown", id=delivery_id))
        return
    show_title(
        view.delivery(delivery["delivery_label"], delivery_id), above=language("delivery_id_word", id=delivery_id)
    )
    show_facts(
        [
            (language("sent_at"), language.time(delivery["sent_at"])),
            (language("campaign"), delivery["campaign_label"] or ""),
            (language("channel"), delivery["channel"] or ""),
            (language("typology"), delivery["typology"] or ""),
            (language("status"), language("status_proof") if delivery["is_proof"] else ""),
            (language("last_event"), language.time(delivery["last_event_at"])),
            (language("last_ingested"), language.time(delivery["last_ingested_at"])),
        ]
    )
    part = choose_part(view, list(PARTS), "delivery", "part")
    PARTS[part](view, delivery_id)
