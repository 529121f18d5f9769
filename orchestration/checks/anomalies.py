"""Whether the newest hours look like those before them: volume, silent servers, opt-outs. Against own history alone.

Belongs here: the comparison, over hourly counts (meta.event_volumes_hourly), and its checks. Does not: counting (dbt),
the limits (anomaly_limits.yml). They warn: what has arrived is published all the same.

The clock is that of the data, because logs may be loaded late: an hour is complete when a later one of the same
server has events. So a warehouse that takes in last year's logs today judges them as it would have then.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from math import isfinite
from pathlib import Path
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import yaml

from log_ingest.storage import let_read
from orchestration.bounded import connected
from orchestration.checks.verdicts import Verdict, check_result
from orchestration.settings import Settings, SettingsError

VOLUMES = dg.AssetKey(["meta", "event_volumes_hourly"])
VOLUME = "volume_is_as_usual"
SILENCE = "every_server_speaks"
OPT_OUTS = "opt_out_rate_is_as_usual"

SHIPPED_LIMITS = Path(__file__).with_name("anomaly_limits.yml")

_HOUR = timedelta(hours=1)
_NEWS_HOURS = 7 * 24
_WEEKS_WITH_A_FAULT = 6
_SHOWN = 20

Series = tuple[str, str]
"""Source and server."""


@dataclass(frozen=True)
class Limits:
    """The numbers of anomaly_limits.yml; section and name joined by an underscore."""

    history_weeks: int
    history_min_weeks: int
    volume_hours: int
    volume_min_difference: float
    volume_drop_factor: float
    volume_spike_factor: float
    silence_hours: int
    silence_min_expected: float
    opt_outs_hours: int
    opt_outs_factor: float
    opt_outs_min_opt_outs: int
    opt_outs_min_events: int

    @classmethod
    def load(cls, path: Path | None = None) -> "Limits":
        """The shipped limits, with those of a file of one's own over them. Raises SettingsError."""
        values = _flat(yaml.safe_load(SHIPPED_LIMITS.read_text(encoding="utf-8")))
        if path:
            try:
                own = _flat(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
            except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError) as error:
                raise SettingsError(f"MTW_ANOMALY_LIMITS: {path} cannot be read; copy {SHIPPED_LIMITS}") from error
            if unknown := sorted(own.keys() - values.keys()):
                raise SettingsError(f"MTW_ANOMALY_LIMITS: {path} has the unknown limit {unknown[0]!r}")
            wrong = sorted(
                name
                for name, value in own.items()
                if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value)
            )
            whole = {field.name for field in fields(cls) if field.type is int}
            if not wrong:
                wrong = sorted(
                    name for name, value in own.items() if not value > 0 or (name in whole and value != int(value))
                )
            if wrong:
                raise SettingsError(f"MTW_ANOMALY_LIMITS: {wrong[0]} in {path} is no number above 0 that can be used")
            # 8.0 is eight.
            values |= {name: int(value) if name in whole else value for name, value in own.items()}
        return cls(**values)


@dataclass(frozen=True)
class Volume:
    """One row of meta.event_volumes_hourly. hour_at: its begin, UTC, without zone."""

    source: str
    server: str
    hour_at: datetime
    event_count: int
    opt_out_count: int = 0
    human_opt_out_count: int = 0


class History:
    """Hourly counts by series, and what they were in the same hour of the weeks before."""

    def __init__(self, rows: Iterable[Volume], zone: str) -> None:
        self.series: dict[Series, dict[datetime, Volume]] = {}
        for row in rows:
            self.series.setdefault((row.source, row.server), {})[row.hour_at] = row
        self._zone = ZoneInfo(zone)

    def weeks_before(self, series: Series, hour: datetime, weeks: int) -> list[int]:
        """Counts of the same local hour of the same weekday, newest week first, as far back as the series goes."""
        counts = self.series[series]
        first = min(counts)
        found = []
        for week in range(1, weeks + 1):
            local = hour.replace(tzinfo=UTC).astimezone(self._zone).replace(tzinfo=None) - timedelta(weeks=week)
            before = local.replace(tzinfo=self._zone).astimezone(UTC).replace(tzinfo=None)
            if before < first:
                break
            found.append(counts[before].event_count if before in counts else 0)
        return found

    @property
    def latest_hour(self) -> datetime | None:
        """The newest hour with any event: it may not be over yet."""
        return max((max(counts) for counts in self.series.values()), default=None)


def volume_verdicts(history: History, limits: Limits) -> list[Verdict]:
    """Per series: each of its newest complete hours has about as many events as that hour of the week usually has."""
    verdicts = []
    for series, counts in sorted(history.series.items()):
        end = max(counts)
        newest = [end - _HOUR * back for back in range(1, limits.volume_hours + 1)]
        odd = [found for hour in newest if hour >= min(counts) and (found := _oddity(history, series, hour, limits))]
        odd.sort(key=lambda found: -abs(found["events"] - found["usual"]))
        said = ""
        if odd:
            worst = odd[0]
            said = f" (from {worst['hour']} UTC {worst['events']:,} events, usually {worst['usual']:,.0f})"
        verdicts.append(
            Verdict(
                f"{_name(series)} has its usual volume in the newest {limits.volume_hours} complete hours{said}",
                not odd,
                "warning",
                sample=odd[:_SHOWN],
            )
        )
    return verdicts


def _oddity(history: History, series: Series, hour: datetime, limits: Limits) -> dict[str, Any] | None:
    counts = history.series[series]
    before = history.weeks_before(series, hour, limits.history_weeks)
    if len(before) < limits.history_min_weeks:
        return None
    now = counts[hour].event_count if hour in counts else 0
    usual, least = median(before), _least(before)
    # A campaign may start at any hour: a spike is what no hour of the history had.
    begin = hour - timedelta(weeks=limits.history_weeks)
    largest = max((row.event_count for at, row in counts.items() if begin <= at < hour), default=0)
    is_drop = now * limits.volume_drop_factor < least and least - now >= limits.volume_min_difference
    is_spike = now > largest * limits.volume_spike_factor and now - largest >= limits.volume_min_difference
    if not (is_drop or is_spike):
        return None
    return {"hour": f"{hour:%Y-%m-%d %H:%M}", "events": now, "usual": usual, "weeks": len(before)}


def _least(counts: Sequence[int]) -> int:
    """The quietest week: one without a campaign on that day is usual too. Of many weeks, one may have been a fault."""
    return sorted(counts)[1 if len(counts) >= _WEEKS_WITH_A_FAULT else 0]


def silence_verdicts(history: History, limits: Limits) -> list[Verdict]:
    """Per series: it has not fallen silent while others go on, in hours in which it always had something to say.

    Where the others have less than usual too, less is expected of it: between campaigns nobody has much to say.
    """
    verdicts = []
    latest = history.latest_hour
    for series, counts in sorted(history.series.items()):
        assert latest is not None
        last = max(counts)
        silent = [last + _HOUR * ahead for ahead in range(1, int((latest - last) / _HOUR))]
        # Beyond a week it is no news, and the weeks before would be silent themselves.
        is_news = limits.silence_hours <= len(silent) <= _NEWS_HOURS
        before = [history.weeks_before(series, hour, limits.history_weeks) for hour in silent if is_news]
        weeks = min((len(counted) for counted in before), default=0)
        expected = 0.0
        if weeks >= limits.history_min_weeks:
            by_week = [sum(counted[week] for counted in before) for week in range(weeks)]
            expected = _least(by_week) * _liveliness(history, series, silent, limits)
        is_silent = is_news and expected >= limits.silence_min_expected
        said = ""
        if is_silent:
            said = f" (none since the hour from {last:%Y-%m-%d %H:%M} UTC, {expected:,.0f} or more were to be expected)"
        verdicts.append(
            Verdict(
                f"{_name(series)} has events while others have them{said}",
                not is_silent,
                "warning",
                sample=[
                    {"last_hour": f"{last:%Y-%m-%d %H:%M}", "silent_hours": len(silent), "expected": round(expected)}
                ]
                if is_silent
                else (),
            )
        )
    return verdicts


def _liveliness(history: History, series: Series, hours: Sequence[datetime], limits: Limits) -> float:
    """What all other series have in these hours, as a share of what they usually have in them; at most 1."""
    now = usual = 0.0
    for other, counts in history.series.items():
        if other == series:
            continue
        for hour in hours:
            now += counts[hour].event_count if hour in counts else 0
            usual += median(history.weeks_before(other, hour, limits.history_weeks) or [0])
    return min(now / usual, 1.0) if usual else 1.0


def opt_out_verdicts(history: History, limits: Limits) -> tuple[list[Verdict], dict[str, Any]]:
    """The share of opt-outs in the newest complete hours, of all sources together, is near its usual; and facts."""
    latest = history.latest_hour
    days: dict[int, list[int]] = {}
    for counts in history.series.values():
        for hour, row in counts.items():
            # Day 0: the newest complete hours. The hour that may not be over is in none.
            assert latest is not None
            back = int((latest - hour) / _HOUR) - 1
            day = days.setdefault(back // limits.opt_outs_hours, [0, 0, 0])
            day[0] += row.event_count
            day[1] += row.opt_out_count
            day[2] += row.human_opt_out_count
    events, opt_outs, human = days.get(0, [0, 0, 0])
    past = [days[day] for day in days if 1 <= day <= limits.history_weeks * 7 * 24 // limits.opt_outs_hours]
    known = sum(day[0] for day in past)
    reach = max(days, default=0)
    facts: dict[str, Any] = {"events": events, "opt_outs": opt_outs, "human_opt_outs": human}
    rule = f"opt-outs are at most {limits.opt_outs_factor:g} times their usual share of events"
    if known < limits.opt_outs_min_events or reach * limits.opt_outs_hours < limits.history_min_weeks * 7 * 24:
        return [Verdict(rule, True, "warning")], facts
    # Days of a few events say nothing. Where there was never any, the next one would have been the first.
    weighty = [day[1] / day[0] for day in past if day[0] * len(past) * 10 >= known]
    usual = max(median(weighty) if weighty else 0.0, 1 / known)
    rate = opt_outs / events if events else 0.0
    is_odd = opt_outs >= limits.opt_outs_min_opt_outs and rate > usual * limits.opt_outs_factor
    facts |= {"rate": round(rate, 6), "usual_rate": round(usual, 6)}
    if is_odd:
        rule += (
            f" ({opt_outs:,} of {events:,} events in the {limits.opt_outs_hours} hours"
            f" until {latest:%Y-%m-%d %H:%M} UTC, {human:,} of them human: {rate:.2%}, usually {usual:.2%})"
        )
    return [Verdict(rule, not is_odd, "warning")], facts


def build_anomaly_checks(settings: Settings, marts: Sequence[dg.AssetKey]) -> dg.AssetChecksDefinition | None:
    """The three checks as one step. None where the project has no such mart. Raises SettingsError."""
    if VOLUMES not in set(marts):
        return None
    limits = Limits.load(settings.anomaly_limits)
    descriptions = {
        VOLUME: "Each server's newest complete hours have about as many events as that hour of the week had before.",
        SILENCE: "No server that normally speaks has fallen silent while others go on.",
        OPT_OUTS: f"Opt-outs are at most {limits.opt_outs_factor:g} times their usual share of all events.",
    }

    @dg.multi_asset_check(
        name="check_anomalies",
        specs=[
            dg.AssetCheckSpec(name, asset=VOLUMES, description=f"{text} Warns.") for name, text in descriptions.items()
        ],
        can_subset=True,
        required_resource_keys={"reporter"},
        description="Compares the newest hours of the data with their own history.",
    )
    def check_anomalies(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        history = read_history(settings, limits)
        opt_outs, facts = opt_out_verdicts(history, limits)
        found: Mapping[str, tuple[list[Verdict], dict[str, Any]]] = {
            VOLUME: (volume_verdicts(history, limits), {}),
            SILENCE: (silence_verdicts(history, limits), {}),
            OPT_OUTS: (opt_outs, facts),
        }
        wanted = {key.name for key in context.selected_asset_check_keys}
        for name, (verdicts, known) in found.items():
            if name in wanted:
                yield check_result(verdicts, asset_key=VOLUMES, check_name=name, facts=known)

    return check_anomalies


def read_history(settings: Settings, limits: Limits) -> History:
    """The hourly counts of the working database, as far back as any check looks."""
    with connected(settings, settings.working_database) as connection:
        let_read(connection, settings.landed_dir)
        rows = connection.execute(
            "select source, server, hour_at, event_count, opt_out_count, human_opt_out_count"
            " from meta.event_volumes_hourly"
            " where hour_at >= (select max(hour_at) from meta.event_volumes_hourly) - to_days($1)",
            [(limits.history_weeks + 2) * 7],
        ).fetchall()
    return History((Volume(*row) for row in rows), settings.time_zone)


def _name(series: Series) -> str:
    source, server = series
    return f"{source} {server}" if source == "esp_event" else f"{source} of server {server}" if server else source


def _flat(sections: Any) -> dict[str, Any]:
    return {f"{section}_{name}": value for section, values in sections.items() for name, value in values.items()}
