"""Choices that a page offers. Each is part of the address, so that what is shown can be sent to somebody.

Belongs here: widgets. Does not: what a choice does. Labels and options are words of ours: the framework reads Markdown
in them, so no data may be an option.
"""

from collections.abc import Mapping, Sequence

import streamlit as st

from reports.view import View

ROWS = 50
"""Rows of a log on one page."""


def choose(view: View, label: str, options: Mapping[str, str], key: str, default: str = "") -> str:
    """One of the options (word keys by code), as a row of buttons. Returns its code."""
    words = {code: view.language(word) for code, word in options.items()}
    return choose_code(view.language(label), words, key, default or next(iter(options)))


def choose_part(view: View, options: Sequence[str], page: str, key: str) -> str:
    """Which part of a page is shown; the words are those of <page>_<part>."""
    words = {part: view.language(f"{page}_{part}") for part in options}
    return choose_code(view.language("section"), words, key, options[0], hide_label=True)


def choose_code(
    label: str,
    options: Mapping[str, str],
    key: str,
    default: str,
    *,
    help_text: str | None = None,
    hide_label: bool = False,
) -> str:
    """The same with the words themselves. The address has the code: the framework's own binding would put the word."""
    if st.session_state.get(key) not in options:
        asked = st.query_params.get(key)
        st.session_state[key] = asked if asked in options else default
    chosen = st.segmented_control(
        label,
        list(options),
        format_func=options.__getitem__,
        key=key,
        required=True,
        help=help_text,
        label_visibility="collapsed" if hide_label else "visible",
    )
    code = chosen if isinstance(chosen, str) and chosen in options else default
    if code != default:
        st.query_params[key] = code
    elif key in st.query_params:
        del st.query_params[key]
    return code


def choose_text(view: View, label: str, options: Sequence[str], key: str) -> str:
    """One of some plain texts that the warehouse itself defines, or "" for all of them."""
    chosen = st.selectbox(
        view.language(label), ["", *options], format_func=lambda text: text or view.language("all_kinds"), key=key
    )
    return chosen or ""


def choose_listed(label: str, options: Sequence[str], key: str, default: str) -> str:
    """One of some names that the warehouse itself defines, such as tables and columns; the address has it."""
    if st.session_state.get(key) not in options:
        asked = st.query_params.get(key)
        st.session_state[key] = asked if asked in options else default if default in options else options[0]
    chosen = st.selectbox(label, options, key=key) or default
    st.query_params[key] = chosen
    return chosen


def page_offset(view: View, count: int, key: str, rows: int = ROWS) -> int:
    """A number to turn pages, where there are several. Returns how many rows come before."""
    pages = max(1, -(-count // rows))
    if st.session_state.get(key, 1) > pages:
        st.session_state[key] = pages
    if pages == 1:
        return 0
    number = st.number_input(
        view.language("page_number", pages=view.language.count(pages)), 1, pages, key=key, step=1, width=160
    )
    return (int(number) - 1) * rows
