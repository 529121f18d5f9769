"""What is to be told: a run that failed or works again, a check that warns or holds again, published data that is old.

Belongs here: making alerts of runs and of the published version, telling each once. Does not: how an alert reads
(alert) or goes out (channels). Called by the sensors of the daemon and by `mtw run`; whichever comes first tells.

A problem is told when it begins, again when it says something else than other numbers, and once a day while it lasts;
then that it is over. Nothing here raises: an alert that could not be sent is a line for whoever called.
"""

import hashlib
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from orchestration.alerts.alert import TEST, Alert, runbook_page, stale_numbers, utc_now
from orchestration.alerts.channels import NotReached, NotSent, channels
from orchestration.alerts.memory import Told, remembered
from orchestration.assets.landing import PLATFORM_CHECK
from orchestration.assets.postgres import KEY as COPY_KEY
from orchestration.checks import anomalies, landed, verified
from orchestration.lock import PipelineLocked
from orchestration.outcome import FailedCheck, Outcome, outcome_of
from orchestration.publication import Publication, PublishError, current
from orchestration.resources import DIED, JOB_NAME
from orchestration.settings import Settings, without_secrets

REMIND_AFTER = timedelta(hours=24)
STALE = "data-stale"

_BY_CHECK = {
    anomalies.VOLUME: "volume-anomaly",
    anomalies.SILENCE: "server-silent",
    anomalies.OPT_OUTS: "opt-out-surge",
    landed.QUARANTINE_RATE: "lines-quarantined",
    landed.MISSING_RATE: "lines-missing",
    PLATFORM_CHECK: "platform-unread",
    verified.NAME: "verify-differs",
}
_NO_SPACE = re.compile(
    r"no space left|not enough (disk )?space|disk.{0,20}full|out of disk|max_temp_directory_size", re.I
)
_RUNS_LOOKED_AT = 1000

Say = Callable[[str], None]


def run_finished(settings: Settings, instance: dg.DagsterInstance, run_id: str, say: Say) -> None:
    """A run has ended: tell what it failed with, what its checks warn of, and what is over. say: for problems."""
    if channels(settings):
        try:
            _run_finished(settings, instance, run_id, say)
        except Exception as error:  # whatever Dagster's storage raises: the run itself has ended as it has
            say(f"no alert of run {run_id}: {type(error).__name__}: {without_secrets(str(error))}")


def _run_finished(settings: Settings, instance: dg.DagsterInstance, run_id: str, say: Say) -> None:
    run = instance.get_run_by_id(run_id)
    if run is None or run.status not in (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE):
        return
    records = instance.get_run_records(RunsFilter(job_name=run.job_name), limit=_RUNS_LOOKED_AT)
    ended = [one for one in records if one.dagster_run.status in (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE)]
    later = [one.dagster_run for one in ended[: [one.dagster_run.run_id for one in ended].index(run_id)]]
    if any(one.status == DagsterRunStatus.SUCCESS for one in later):
        return  # the daemon comes to a run late: what is true now has been told
    events = [entry.dagster_event for entry in instance.all_logs(run_id) if entry.dagster_event]
    outcome = outcome_of(run_id, run.status == DagsterRunStatus.SUCCESS, events)
    failing = []
    for one in ended[len(later) :]:
        if one.dagster_run.status == DagsterRunStatus.SUCCESS:
            break
        failing.append(one.create_timestamp.astimezone(UTC).replace(tzinfo=None))
    tell(settings, _of_run(settings, run.job_name, outcome, failing), say)


def could_not_begin(settings: Settings, what: str, say: Say) -> None:
    """A command could not even start its run."""
    tell(settings, [_failed(settings, JOB_NAME, what, "run-failed", utc_now())], say)


def published_data_is_old(settings: Settings, say: Say, now: datetime | None = None) -> str:
    """Tell of published data that is older than MTW_ALERT_STALE_HOURS. Returns how it stands, in one line."""
    now = now or utc_now()
    publication = _publication(settings)
    if publication is None:
        return "nothing is published yet"
    if not settings.alert_stale_hours:
        return "MTW_ALERT_STALE_HOURS is 0: age is not watched"
    through = publication.data_through_at or publication.published_at
    limit = through + timedelta(hours=settings.alert_stale_hours)
    what = f"the newest event in version {publication.label} is of {through:%Y-%m-%d %H:%M} UTC"
    tell(settings, [_alert(settings, STALE, STALE, what, limit, is_over=now <= limit, now=now)], say)
    return what + (", too old" if now > limit else "")


def try_channels(settings: Settings) -> dict[str, str]:
    """Send a test by every channel that is set up. Returns by channel why it did not go out; "" where it did."""
    alert = _alert(settings, TEST, TEST, "mtw alerts --test", utc_now())
    found = {}
    ways = channels(settings)
    for name in ways:
        problems: list[str] = []
        _send(ways, name, alert, problems.append)
        found[name] = "; ".join(problems)
    return found


def tell(settings: Settings, alerts: Iterable[Alert], say: Say, now: datetime | None = None) -> None:
    """Send what has not been told, by each channel that is set up, and remember it. Never raises.

    What cannot be remembered is told all the same: of a full disk people must hear most of all.
    """
    ways = channels(settings)
    if not ways:
        return
    waiting, now = list(alerts), now or utc_now()
    try:
        settings.warehouse_dir.mkdir(parents=True, exist_ok=True)
        with remembered(settings.warehouse_dir) as memory:
            while waiting:
                _tell(ways, waiting.pop(0), memory, say, now)
    except (OSError, PipelineLocked) as error:
        say(f"what was told is not remembered: {error}")
        for alert in waiting:
            _tell(ways, alert, {}, say, now)


def _tell(
    ways: dict[str, Callable[[Alert], None]], alert: Alert, memory: dict[str, Told], say: Say, now: datetime
) -> None:
    told = memory.get(alert.key)
    if alert.is_over:
        if told is None:
            return
        alert = _since(alert, told)
        # Whoever was not told that it began need not hear that it is over.
        for name in list(told.at):
            if name not in ways or _send(ways, name, alert, say):
                del told.at[name]
        if not told.at:
            del memory[alert.key]
        return
    if told is None:
        told = Told(alert.kind, alert.since.isoformat(timespec="seconds"), _digest(alert))
    elif told.digest != _digest(alert):
        # Whoever heard of it must hear that it is over, even if this news does not reach them.
        told = Told(alert.kind, told.since, _digest(alert), dict.fromkeys(told.at, ""))
    alert = _since(alert, told)
    memory[alert.key] = told
    for name in ways:
        last = told.at.get(name)
        if last and now - datetime.fromisoformat(last) < REMIND_AFTER:
            continue
        if _send(ways, name, alert, say):
            told.at[name] = now.isoformat(timespec="seconds")


def _of_run(settings: Settings, job: str, outcome: Outcome, failing: list[datetime]) -> Iterable[Alert]:
    if outcome.success:
        yield _failed(settings, job, f"job {job} works again", "run-failed", utc_now(), is_over=True)
    else:
        since = failing[-1] if failing else utc_now()
        yield _failed(settings, job, f"job {job}: {outcome.failure}", kind_of(outcome), since, outcome.run_id)
    for check in outcome.failed_checks:
        kind = _kind_of_check(check)
        # A failed check that stopped the run is what the run failed with.
        if check.is_warning or outcome.success:
            yield _alert(settings, f"check:{check.name}", kind, f"{check.name}: {check.reason}", utc_now())
    for name in outcome.passed_checks:
        kind = _kind_of_check(FailedCheck(name, "", is_warning=True))
        yield _alert(settings, f"check:{name}", kind, f"{name} holds again", utc_now(), is_over=True)


def kind_of(outcome: Outcome) -> str:
    """The kind of alert for a run that failed."""
    if _NO_SPACE.search(outcome.failure):
        return "disk-full"
    if DIED in outcome.failure:
        return "run-died"
    if outcome.failed_step == "__".join(COPY_KEY.path):
        return "copy-failed"
    errors = [check for check in outcome.failed_checks if not check.is_warning]
    if (errors and not outcome.failed_step) or outcome.failure.startswith("dbt test "):
        return "check-failed"
    return "run-failed"


def _kind_of_check(check: FailedCheck) -> str:
    return _BY_CHECK.get(check.name.rpartition(": ")[2], "check-warned")


def _failed(
    settings: Settings, job: str, what: str, kind: str, since: datetime, run_id: str = "", *, is_over: bool = False
) -> Alert:
    return _alert(settings, f"run:{job}", kind, what, since, is_over=is_over, run_id=run_id, job=job)


def _alert(
    settings: Settings,
    key: str,
    kind: str,
    what: str,
    since: datetime,
    *,
    is_over: bool = False,
    now: datetime | None = None,
    **facts: str,
) -> Alert:
    stale, published = stale_numbers(None if is_over else kind, _publication(settings), now or utc_now())
    where = f"{socket.gethostname()}:{settings.warehouse_dir}"
    return Alert(key, kind, what, since, stale, runbook_page(settings, kind), where, facts | published, is_over)


def _publication(settings: Settings) -> Publication | None:
    try:
        return current(settings.published_dir)
    except PublishError:
        return None


def _send(ways: dict[str, Callable[[Alert], None]], name: str, alert: Alert, say: Say) -> bool:
    """Whether it went out. A channel that nobody answers is not tried again with the same `ways`: it takes long."""
    try:
        ways[name](alert)
    except NotSent as error:
        say(f"alert not sent by {name}: {error}")
        if isinstance(error, NotReached):
            ways[name] = partial(_not_again, str(error))
        return False
    return True


def _not_again(why: str, alert: Alert) -> None:
    raise NotSent(why)


def _since(alert: Alert, told: Told) -> Alert:
    """The alert with the moment its problem began, whichever call noticed it first; and of the kind it began with."""
    since = min(alert.since, told.since_at)
    return replace(alert, since=since, kind=told.kind if alert.is_over else alert.kind)


def _digest(alert: Alert) -> str:
    """Of what it says, but for numbers: counts and times change with every run and are no news. Servers are named by
    a digit, too: another one is."""
    said = re.sub(r"(\bserver \S+)|[0-9]+", lambda found: found[1] or "", alert.what)
    return hashlib.sha256(f"{alert.kind} {said}".encode()).hexdigest()[:16]
