"""The report pages, which start/report_pages.py runs.

Belongs here: login, what stands around every page, which pages there are. Does not: any page.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import streamlit as st

from reports.controls import choose_code
from reports.language import LANGUAGES, Language
from reports.published import NotPublished, published
from reports.screens import dashboard, delivery, health, lineage, platform, profile
from reports.settings import ReportSettings
from reports.tables import show_message
from reports.text import escaped
from reports.view import View

STYLE = Path(__file__).with_name("pages.css")
ICON = str(Path(__file__).with_name("icon.svg"))
"""A file of ours: the framework's own icons for a browser's tab come from the network."""

PAGES: dict[str, tuple[Callable[[View], None], str]] = {
    "dashboard": (dashboard.show, "list_alt"),
    "delivery": (delivery.show, "mail"),
    "profile": (profile.show, "person"),
    "platform": (platform.show, "monitoring"),
    "health": (health.show, "fact_check"),
    "lineage": (lineage.show, "account_tree"),
}
"""By name, which is also the address; with the name of an icon that the framework brings along."""

COUNT_EVENTS = set(PAGES) - {"health", "lineage"}
"""Pages whose numbers may or may not leave machines out."""


def main() -> None:
    settings = ReportSettings.load()
    st.set_page_config(page_title="Message tracking", page_icon=ICON, layout="wide")
    st.html(STYLE)
    language = _language(settings)
    logged_in = settings.login != "oidc" or bool(st.user.is_logged_in)
    pages = [
        st.Page(
            # Until then every address leads to the same request, and no page is made.
            _runner(name, settings, language) if logged_in else partial(_ask_to_log_in, language),
            title=language(f"page_{name}"),
            url_path=name,
            icon=f":material/{icon}:",
            default=name == "dashboard",
        )
        for name, (_, icon) in PAGES.items()
    ]
    st.navigation(pages, position="sidebar" if logged_in else "hidden").run()


def show_page(name: str, settings: ReportSettings, language: Language) -> None:
    """One page with what stands around it."""
    human = name in COUNT_EVENTS and _human(language)
    try:
        snapshot = published(settings.published_database).snapshot()
    except NotPublished:
        show_message(language("not_published"))
        return
    view = View(snapshot, settings, language, human)
    PAGES[name][0](view)
    _footer(view)
    if settings.login == "oidc":
        st.sidebar.button(language("logout"), on_click=st.logout)


def _runner(name: str, settings: ReportSettings, language: Language) -> Callable[[], None]:
    return lambda: show_page(name, settings, language)


def _language(settings: ReportSettings) -> Language:
    with st.sidebar:
        code = choose_code("Language / Langue", LANGUAGES, "lang", settings.language)
    return Language(code, settings.time_zone)


def _human(language: Language) -> bool:
    words = {code: language(f"events_{code}") for code in ("all", "human")}
    return choose_code(language("events"), words, "events", "all", help_text=language("events_help")) == "human"


def _footer(view: View) -> None:
    publication = view.row("publication") or {}
    text = view.language(
        "footer",
        version=f"{publication.get('version', 0):06d}",
        published=view.language.time(publication.get("published_at")),
        through=view.language.time(publication.get("data_through_at")),
        zone=view.settings.time_zone,
    )
    note = "" if view.settings.show_personal_data else " " + view.language("masked_note")
    st.html(f'<p class="mtw-footer">{escaped(text)}.{escaped(note)}</p>')


def _ask_to_log_in(language: Language) -> None:
    show_message(language("login_needed"))
    st.button(language("login"), on_click=st.login)
