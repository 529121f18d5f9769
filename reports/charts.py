"""Charts, drawn by Altair, which writes data as text and never as markup.

Belongs here: kinds of charts. Does not: which numbers. Times are wall-clock times of the reporting zone and are handed
over as UTC: those without a zone are read in the zone of whoever looks. Never more series than there are colours.
"""

import altair as alt
import pandas as pd
import streamlit as st

from reports.language import Language
from reports.text import shortened, visible

COLOURS = ("#0b4f8a", "#d55e00", "#00795c", "#8a3fa0", "#b8860b", "#c2185b", "#3a9bd9", "#5d4037", "#6b7785")
"""Told apart by people who are colour-blind too, as far as nine can be; the last is for what is left over."""
MAX_SERIES = len(COLOURS) - 1
HEIGHT = 300

FRENCH = {
    "number": {
        "decimal": ",", "thousands": "\u202f", "grouping": [3], "currency": ["", "\u00a0€"], "percent": "\u00a0%",
    },
    "time": {
        "dateTime": "%A %e %B %Y à %X", "date": "%d/%m/%Y", "time": "%H:%M:%S", "periods": ["", ""],
        "days": ["dimanche", "lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi"],
        "shortDays": ["dim.", "lun.", "mar.", "mer.", "jeu.", "ven.", "sam."],
        "months": ["janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre",
                   "novembre", "décembre"],
        "shortMonths": ["janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.",
                        "déc."],
    },
}  # fmt: skip


def over_time(
    language: Language,
    rows: pd.DataFrame,
    time: str,
    value: str,
    series: str,
    *,
    alt_text: str,
    labels: tuple[str, str, str],
    daily: bool,
    rate: bool = False,
) -> None:
    """Lines over local time. labels: of time, value and series, for the axes and what a pointer shows.

    rate: values are rates (0–1), not counts.
    """
    rows = rows.assign(**{time: pd.to_datetime(rows[time]).dt.tz_localize("UTC")})
    longer = rows[time].max() - rows[time].min() > pd.Timedelta(days=4)
    chart = (
        alt.Chart(_texts(rows, series))
        .mark_line(point=rows[time].nunique() < 60, strokeWidth=2)
        .encode(
            x=alt.X(
                f"{time}:T",
                title=None,
                scale=alt.Scale(type="utc"),
                axis=alt.Axis(format="%d %b" if daily or longer else "%d %b %H:%M", labelOverlap=True, tickCount=8),
            ),
            y=alt.Y(f"{value}:Q", title=labels[1], axis=alt.Axis(format=".0%") if rate else alt.Axis(tickMinStep=1)),
            color=_colour(rows, series),
            tooltip=[
                alt.Tooltip(
                    f"{'utcyearmonthdate' if daily else 'utcyearmonthdatehoursminutes'}({time}):T", title=labels[0]
                ),
                alt.Tooltip(f"{series}:N", title=labels[2]),
                alt.Tooltip(f"{value}:Q", title=labels[1], format=".1%" if rate else ","),
            ],
        )
    )
    _show(language, chart, alt_text)


def every_step(rows: pd.DataFrame, time: str, series: str, value: str, freq: str) -> pd.DataFrame:
    """Long rows with a zero where a series has none: a line must not slope over days on which nothing happened."""
    order = list(dict.fromkeys(rows[series]))
    wide = rows.pivot_table(index=time, columns=series, values=value, aggfunc="sum", observed=True)
    every = pd.date_range(wide.index.min(), wide.index.max(), freq=freq, name=time)
    filled = wide.reindex(every).fillna(0)[order]
    return filled.reset_index().melt(time, var_name=series, value_name=value)


def cumulative(
    language: Language,
    rows: pd.DataFrame,
    hours: str,
    share: str,
    series: str,
    *,
    alt_text: str,
    labels: tuple[str, str, str],
) -> None:
    """Curves that rise to 100 %, over hours since sending."""
    chart = (
        alt.Chart(_texts(rows, series))
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=alt.X(f"{hours}:Q", title=labels[0]),
            y=alt.Y(f"{share}:Q", title=labels[1], axis=alt.Axis(format=".0%"), scale=alt.Scale(domain=[0, 1])),
            color=_colour(rows, series),
            tooltip=[
                alt.Tooltip(f"{hours}:Q", title=labels[0], format=",.1f"),
                alt.Tooltip(f"{share}:Q", title=labels[1], format=".1%"),
                alt.Tooltip(f"{series}:N", title=labels[2]),
            ],
        )
    )
    _show(language, chart, alt_text)


def _colour(rows: pd.DataFrame, series: str) -> alt.Color:
    names = [visible(name) for name in dict.fromkeys(rows[series])]
    return alt.Color(
        f"{series}:N",
        title=None,
        sort=names,
        scale=alt.Scale(domain=names, range=list(COLOURS[: len(names)])),
        legend=alt.Legend(orient="bottom", columns=2, labelLimit=230, symbolType="stroke", symbolStrokeWidth=3),
    )


def series_name(position: int, text: str) -> str:
    """A short name that is not another series' name, whatever the texts are."""
    return f"{position}. {shortened(text, 34)}"


def _texts(rows: pd.DataFrame, series: str) -> pd.DataFrame:
    return rows.assign(**{series: rows[series].map(visible)})


def _show(language: Language, chart: alt.Chart, alt_text: str) -> None:
    # Without the menu, which would send the numbers to an editor on the network.
    chart = chart.properties(height=HEIGHT, usermeta={"embedOptions": {"actions": False}})
    if language.code == "fr":
        chart = chart.configure(locale=FRENCH)
    st.altair_chart(chart, alt=alt_text)
