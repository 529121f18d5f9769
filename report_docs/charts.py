"""Pictures of the report marts: the rows of a query as one small SVG file.

A report's config.meta.report.chart says kind (one of KINDS), title, and where wanted axis and x_axis (what the axes
show) and unit: ratio (numbers are shown in percent). The first column of the rows names or places them; each further
column is a series. Three columns of which the second is text are a table in long form: place, series, number.

Belongs here: drawing any report by its kind. Does not: what a report shows, nor code for one report.
The same rows give the same bytes. Labels come from data: they are shown as text, cut, and never read as markup or
formula.
"""

import datetime as dt
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import matplotlib
from matplotlib import dates, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestration.text import plain

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "reports",  # ids are random without it
    "svg.fonttype": "none",  # text stays text: no outlines, and no font in the file
    "text.parse_math": False,  # a label with two $ is no formula
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.formatter.useoffset": False,
    "legend.frameon": False,
}
COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#e45756", "#72b7b2", "#9d755d")
PALE = ("#b9cde2", "#fbd0a3", "#b9dcb5", "#e0cadb", "#f5bfbd", "#c3e1df", "#d5c6bd")
"""For a series whose human form is drawn too: it is the larger, paler one behind."""
LABEL_LENGTH = 32
CELLS_WITH_NUMBERS = 60


@dataclass(frozen=True)
class Table:
    """Rows as drawn: a label or place for each, and equally long series of numbers (None where there is none)."""

    places: list[Any]
    series: dict[str, list[float | None]]

    @property
    def labels(self) -> list[str]:
        return ["" if place is None else plain(place, LABEL_LENGTH) for place in self.places]


def draw(chart: dict[str, Any], columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str | None:
    """The SVG text; None where there is nothing to show: no rows, or none with a number but 0.

    Raises ValueError where the chart is of no known kind.
    """
    if chart["kind"] not in KINDS:
        raise ValueError(f"chart kind {chart['kind']!r} is none of: {', '.join(KINDS)}")
    if not rows:
        return None
    chart = {key: plain(text) for key, text in chart.items()}
    if chart["kind"] != "timeline":
        table = _table(columns, rows)
        if not any(value for values in table.series.values() for value in values):
            return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(chart["title"])
        if chart["kind"] == "timeline":
            _timeline(axes, chart, rows)
        else:
            KINDS[chart["kind"]](axes, chart, table)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines())


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    if len(columns) == 3 and all(isinstance(row[1], str) for row in rows):
        places = list(dict.fromkeys(row[0] for row in rows))
        found = {(row[0], row[1]): _number(row[2]) for row in rows}
        names = list(dict.fromkeys(row[1] for row in rows))
        return Table(places, {name: [found.get((place, name)) for place in places] for name in names})
    series = {name: [_number(row[at]) for row in rows] for at, name in enumerate(columns) if at > 0}
    return Table([row[0] for row in rows], series)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float | Decimal) else None


# -- kinds


def _bars(axes: Axes, chart: dict[str, Any], table: Table) -> None:
    """Horizontal bars, the first row on top; beside each other for each series."""
    height = 0.8 / len(table.series)
    for at, (name, colour) in enumerate(_coloured(table)):
        places = [row + (at - (len(table.series) - 1) / 2) * height for row in range(len(table.places))]
        axes.barh(places, [value or 0 for value in table.series[name]], height, color=colour, label=plain(name))
    axes.set_yticks(range(len(table.places)), table.labels)
    axes.invert_yaxis()
    _number_axis(axes.xaxis, chart)
    axes.set_xlabel(chart.get("axis", ""))
    _legend(axes)


def _lines(axes: Axes, chart: dict[str, Any], table: Table, **style: Any) -> None:
    """A line for each series over days or numbers."""
    for name, colour in _coloured(table):
        points = [(x, y) for x, y in zip(table.places, table.series[name], strict=True) if y is not None]
        axes.plot([x for x, _ in points], [y for _, y in points], color=colour, label=plain(name, 40), **style)
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    if isinstance(table.places[0], dt.date):
        _time_axis(axes)
    _number_axis(axes.yaxis, chart)
    axes.set_xlabel(chart.get("x_axis", ""))
    axes.set_ylabel(chart.get("axis", ""))
    _legend(axes)


def _curve(axes: Axes, chart: dict[str, Any], table: Table) -> None:
    """What adds up: steps that never fall."""
    _lines(axes, chart, table, drawstyle="steps-post")
    axes.set_xlim(left=0)


def _pareto(axes: Axes, chart: dict[str, Any], table: Table) -> None:
    """Bars of one series, the largest first, and the line of their cumulated share."""
    values = [value or 0 for value in next(iter(table.series.values()))]
    total = sum(values)
    places = range(len(values))
    axes.bar(places, values, color=COLOURS[0])
    axes.set_xticks(places, [plain(label, 18) for label in table.labels], rotation=35, ha="right")
    _number_axis(axes.yaxis, chart)
    axes.set_ylabel(chart.get("axis", ""))
    share = axes.twinx()
    share.plot(places, [sum(values[: at + 1]) / total for at in places], color=COLOURS[1], marker="o", markersize=3)
    share.set_ylim(0, 1.05)
    share.yaxis.set_major_formatter(ticker.PercentFormatter(1))
    share.set_ylabel("cumulated share")


def _heat(axes: Axes, chart: dict[str, Any], table: Table) -> None:
    """A row of cells for each place, a column for each series: the darker, the more."""
    names = list(table.series)
    cells = [[table.series[name][row] for name in names] for row in range(len(table.places))]
    top = max(value for row in cells for value in row if value is not None)
    axes.pcolormesh([[value or 0 for value in row] for row in cells], cmap="Oranges", vmin=0, vmax=top)
    axes.set_yticks([row + 0.5 for row in range(len(cells))], table.labels)
    axes.set_xticks([at + 0.5 for at in range(len(names))], [plain(name, 24) for name in names])
    axes.invert_yaxis()
    axes.set_xlabel(chart.get("x_axis", ""))
    if len(cells) * len(names) > CELLS_WITH_NUMBERS:
        return
    for y, row in enumerate(cells):
        for x, value in enumerate(row):
            colour = "white" if (value or 0) > 0.6 * top else "black"
            axes.text(x + 0.5, y + 0.5, _shown(value, chart), ha="center", va="center", color=colour)


def _timeline(axes: Axes, chart: dict[str, Any], rows: Sequence[Sequence[Any]]) -> None:
    """A dot for each row: when, what, and whether a machine did it."""
    kinds = list(dict.fromkeys(plain(row[1], LABEL_LENGTH) for row in rows))
    for is_machine, label, colour in ((False, "people", COLOURS[0]), (True, "machines", COLOURS[1])):
        chosen = [row for row in rows if bool(row[2]) == is_machine]
        if chosen:
            places = [kinds.index(plain(row[1], LABEL_LENGTH)) for row in chosen]
            axes.scatter([row[0] for row in chosen], places, color=colour, s=14, alpha=0.6, label=label)
    axes.set_yticks(range(len(kinds)), kinds)
    axes.set_ylim(-0.5, len(kinds) - 0.5)
    axes.invert_yaxis()
    _time_axis(axes)
    _legend(axes)


KINDS: dict[str, Callable[..., None]] = {
    "bars": _bars,
    "lines": _lines,
    "curve": _curve,
    "pareto": _pareto,
    "heat": _heat,
    "timeline": _timeline,
}


# -- what kinds share


def _coloured(table: Table) -> list[tuple[str, str]]:
    """Series and colours; a series and its human form have one hue."""
    hues = {name: at for at, name in enumerate(dict.fromkeys(name.removeprefix("human_") for name in table.series))}
    return [
        (name, (PALE if f"human_{name}" in table.series else COLOURS)[hues[name.removeprefix("human_")] % len(COLOURS)])
        for name in table.series
    ]


def _legend(axes: Axes) -> None:
    """Below the axes, where it hides nothing; none for one series."""
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1:
        axes.figure.legend(handles, labels, loc="outside lower center", ncols=2 if len("".join(labels)) > 70 else 4)


def _time_axis(axes: Axes) -> None:
    locator = dates.AutoDateLocator(maxticks=7)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))


def _number_axis(axis: Any, chart: dict[str, Any]) -> None:
    axis.set_major_locator(ticker.MaxNLocator(6))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: _shown(value, chart)))


def _shown(value: float | None, chart: dict[str, Any]) -> str:
    if value is None:
        return ""
    return f"{value:.0%}" if chart.get("unit") == "ratio" else f"{value:,.10g}"
