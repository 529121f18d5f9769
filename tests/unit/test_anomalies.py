"""Anomaly checks on generated hours and on the sample: what is injected is found and named, nothing else is.

Volumes are those of a sender with days and nights and quiet weekends, without campaigns: a plain formula with noise.
"""

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from log_ingest.sample import write_sample
from orchestration.checks.anomalies import (
    History,
    Limits,
    Volume,
    opt_out_verdicts,
    silence_verdicts,
    volume_verdicts,
)
from orchestration.settings import SettingsError
from tests.samplereading import PUBLISHED

LIMITS = Limits.load()
HOUR, WEEK = timedelta(hours=1), timedelta(weeks=1)
END = datetime(2026, 11, 25, 14)
"""A Wednesday. The last hour, which is not over: it has a tenth of its events."""
NOON = datetime(2026, 11, 25, 12)
SERVERS = ("5", "6")


def usual(at: datetime) -> float:
    """Events in an hour: 40 at night, 800 at noon, a third of it at weekends."""
    by_hour = 40 + 760 * max(0.0, 1 - abs(at.hour - 12) / 8)
    return by_hour / 3 if at.weekday() >= 5 else by_hour


def hours(weeks: int = 9, change: Callable[[Volume], Volume | None] = lambda row: row, seed: int = 1) -> list[Volume]:
    noise = random.Random(seed)
    rows = []
    at = END - WEEK * weeks
    while at <= END:
        for server in SERVERS:
            events = round(usual(at) * noise.lognormvariate(0, 0.15) * (0.1 if at == END else 1))
            opt_outs = sum(noise.random() < 0.002 for _ in range(events))
            row = change(Volume("tracking_log", server, at, events, opt_outs, opt_outs // 2))
            if row and row.event_count:
                rows.append(row)
        at += HOUR
    return rows


def warnings(rows: list[Volume], zone: str = "UTC", limits: Limits = LIMITS) -> list[str]:
    history = History(rows, zone)
    verdicts = [*volume_verdicts(history, limits), *silence_verdicts(history, limits)]
    verdicts += opt_out_verdicts(history, limits)[0]
    assert {verdict.severity for verdict in verdicts} <= {"warning"}
    return [verdict.rule for verdict in verdicts if not verdict.passed]


def with_count(at: datetime, server: str, factor: float) -> Callable[[Volume], Volume | None]:
    def change(row: Volume) -> Volume | None:
        if (row.hour_at, row.server) != (at, server):
            return row
        return Volume(row.source, server, at, round(row.event_count * factor), row.opt_out_count)

    return change


def test_nights_weekends_and_noise_are_no_anomaly():
    """Judged at every hour of the last five days and of a weekend, with several noises."""
    for seed in range(3):
        rows = hours(seed=seed)
        for back in range(0, 120, 5):
            seen = [row for row in rows if row.hour_at <= END - HOUR * back]
            assert warnings(seen) == [], (seed, back)


def test_a_first_run_and_a_short_history_say_nothing():
    assert warnings([]) == []
    assert warnings(hours(weeks=0)) == []
    odd = with_count(NOON, "5", 0.01)
    assert warnings(hours(weeks=3, change=odd)) == []
    assert len(warnings(hours(weeks=5, change=odd))) == 1


def test_a_drop_is_found_and_named():
    (rule,) = warnings(hours(change=with_count(NOON, "5", 0.05)))
    assert rule.startswith("tracking_log of server 5 has its usual volume")
    assert "from 2026-11-25 12:00 UTC" in rule
    assert "events, usually 8" in rule or "events, usually 7" in rule
    assert warnings(hours(change=with_count(NOON, "5", 0.5))) == []


def test_an_hour_without_any_event_is_a_drop():
    (rule,) = warnings(hours(change=with_count(NOON, "6", 0)))
    assert "server 6" in rule and "12:00 UTC 0 events" in rule


def test_a_spike_is_found_and_a_campaign_of_usual_size_at_another_hour_is_none():
    (rule,) = warnings(hours(change=with_count(NOON, "5", 8)))
    assert "server 5" in rule and "from 2026-11-25 12:00 UTC 7," in rule
    night = datetime(2026, 11, 25, 3)
    assert warnings(hours(change=with_count(night, "5", 20))) == []
    assert len(warnings(hours(change=with_count(night, "5", 120)))) == 1


def test_the_hour_that_is_not_over_is_not_judged():
    rows = hours()
    last = [row for row in rows if row.hour_at == END]
    assert last and all(row.event_count < usual(END) / 5 for row in last)
    assert warnings(rows) == []
    # As soon as a later one has begun it is.
    later = [Volume("tracking_log", server, END + HOUR, 5) for server in SERVERS]
    assert len(warnings(rows + later)) == 2


def test_an_earlier_fault_does_not_hide_the_next_one():
    def change(row: Volume) -> Volume | None:
        return None if row.server == "5" and row.hour_at in (NOON, NOON - WEEK * 3) else row

    (rule,) = warnings(hours(change=change))
    assert "server 5" in rule


def test_a_silent_server_is_found_and_one_whose_logs_come_two_hours_later_is_none():
    def silent_for(count: int) -> Callable[[Volume], Volume | None]:
        return lambda row: None if row.server == "6" and row.hour_at > END - HOUR * (count + 1) else row

    assert warnings(hours(change=silent_for(2))) == []
    (rule,) = warnings(hours(change=silent_for(7 * 24)))
    assert "server 6" in rule
    for beyond in (7 * 24 + 1, 5 * 7 * 24):
        assert warnings(hours(change=silent_for(beyond))) == [], "taken out of service: no news any more"
    (rule,) = warnings(hours(change=silent_for(4)))
    assert rule.startswith("tracking_log of server 6 has events while others have them (none since the hour from 2026-")


def test_silence_is_judged_by_the_clock_of_the_data():
    """Last year's logs, loaded today: nobody is silent since."""
    assert warnings([row for row in hours() if row.hour_at < END - WEEK]) == []


def test_a_server_that_is_quiet_at_night_and_when_the_others_are_is_not_silent():
    night = datetime(2026, 11, 25, 4)
    quiet_nights = [row for row in hours() if row.hour_at <= night and (row.server == "5" or row.hour_at.hour > 5)]
    assert warnings(quiet_nights) == []

    def between_campaigns(row: Volume) -> Volume | None:
        if row.hour_at <= END - HOUR * 8:
            return row
        return Volume(row.source, "5", row.hour_at, 1) if row.server == "5" else None

    # Server 5 has nearly nothing: that is its drop, but server 6 is not silent on its own.
    assert [rule for rule in warnings(hours(change=between_campaigns)) if "has events while" in rule] == []


def test_an_opt_out_rate_thirty_times_its_usual_is_found():
    def surge(rate: float) -> Callable[[Volume], Volume | None]:
        def change(row: Volume) -> Volume | None:
            if row.hour_at <= END - HOUR * 25:
                return row
            return Volume(row.source, row.server, row.hour_at, row.event_count, round(row.event_count * rate), 1)

        return change

    (rule,) = warnings(hours(change=surge(0.08)))
    assert rule.startswith("opt-outs are at most 30 times their usual share of events (")
    assert "48 of them human: 8.0" in rule and "usually 0.18%" in rule
    assert warnings(hours(change=surge(0.04))) == [], "20 times"


def test_opt_outs_where_there_never_were_any():
    def change(row: Volume) -> Volume | None:
        opt_outs = row.event_count // 20 if row.hour_at > END - HOUR * 25 else 0
        return Volume(row.source, row.server, row.hour_at, row.event_count, opt_outs)

    assert len(warnings(hours(change=change))) == 1


def test_the_same_local_hour_counts_when_clocks_change():
    """Autumn 2026 in Paris: noon is 10:00 UTC until October 25, then 11:00. One hour a day is busy."""
    rows, at = [], datetime(2026, 9, 7)
    while at <= datetime(2026, 11, 2, 13):
        utc_noon = 10 if at < datetime(2026, 10, 25, 1) else 11
        rows.append(Volume("tracking_log", "5", at, 1000 if at.hour == utc_noon else 10))
        at += HOUR
    assert warnings(rows, "Europe/Paris") == []
    assert len(warnings(rows, "UTC")) == 1, "by UTC, 10:00 has lost its volume"


@pytest.fixture(scope="module")
def sample_hours(tmp_path_factory: pytest.TempPathFactory) -> list[Volume]:
    """Hourly counts of the sample's tracking logs, by plain reading: campaigns, their decay, weekends."""
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder, events=30_000, seed=20240501)
    counts: dict[tuple[str, datetime], int] = {}
    for path in sorted(Path(folder).glob("tracking_logs/**/*.log")):
        for line in set(path.read_bytes().splitlines()):
            text = line.decode("latin-1")
            if PUBLISHED.match(text):
                server, at = text[0], datetime.fromisoformat(text.split("\t")[1][:13] + ":00:00")
                counts[server, at] = counts.get((server, at), 0) + 1
    rows = [Volume("tracking_log", server, at, count) for (server, at), count in counts.items() if at.year == 2024]
    assert len(rows) > 300
    return rows


def test_the_sample_has_no_anomaly_at_any_time(sample_hours):
    first, last = min(row.hour_at for row in sample_hours), max(row.hour_at for row in sample_hours)
    at = first + WEEK * LIMITS.history_min_weeks
    judged = 0
    while at <= last:
        # Tenfold: the limits of the real size apply.
        seen = [Volume(r.source, r.server, r.hour_at, r.event_count * 10) for r in sample_hours if r.hour_at <= at]
        assert warnings(seen) == [], at
        judged += 1
        at += HOUR * 3
    assert judged > 60


def test_limits_of_ones_own(tmp_path):
    own = tmp_path / "limits.yml"
    own.write_text("volume: {drop_factor: 1.5}\n")
    limits = Limits.load(own)
    assert limits.silence_hours == LIMITS.silence_hours
    assert len(warnings(hours(change=with_count(NOON, "5", 0.4)), limits=limits)) == 1
    own.write_text("history: {weeks: 8.0}\n")
    assert warnings(hours(change=with_count(NOON, "5", 0.1)), limits=Limits.load(own)), "eight weeks, however written"
    for text, says in [
        ("volume: {drop_factro: 2}", "unknown limit 'volume_drop_factro'"),
        ("volume: {drop_factor: many}", "no number above 0"),
        ("volume: {hours: 1.5}", "no number above 0"),
        ("volume: {spike_factor: -1}", "no number above 0"),
        ("volume: {hours: .inf}", "no number above 0"),
        ("volume: {spike_factor: .nan}", "no number above 0"),
        ("- 1", "cannot be read"),
        ("a: [", "cannot be read"),
    ]:
        own.write_text(text)
        with pytest.raises(SettingsError, match=says):
            Limits.load(own)
    with pytest.raises(SettingsError, match="cannot be read"):
        Limits.load(tmp_path / "none.yml")
