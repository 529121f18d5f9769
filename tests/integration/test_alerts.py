"""Alerts: what real servers receive when runs fail, warn and work again, and when published data is old."""

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from orchestration.alerts import watch
from orchestration.alerts.alert import KINDS, Alert, harmless
from orchestration.alerts.channels import NotReached, NotSent, channels, mail, post
from orchestration.alerts.memory import FILE, open_alerts
from orchestration.definitions import build_defs
from orchestration.outcome import FailedCheck, Outcome
from orchestration.resources import DIED
from orchestration.settings import Settings
from tests.conftest import mtw
from tests.integration.test_definitions import (  # noqa: F401  (fixtures)
    copied,
    first_run,
    run_once,
    settings,
    tracking_line,
    unchanged_environment,
    write_log,
)
from tests.receivers import Mailbox, Webhook, mailbox, webhook

NEWEST_EVENT = datetime(2026, 11, 20, 21, 4, 59)
"""Of the 300 lines that the fixture's warehouse has published."""

HOSTILE = (
    "a\nSubject: forged\r\n<!channel> @everyone `x` ![p](http://evil/px) <b>b</b> \x1b[31m\u202e of eve@example.com"
)


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as found:
        yield found


@pytest.fixture
def mails() -> Iterator[Mailbox]:
    with mailbox() as found:
        yield found


@pytest.fixture
def watched(copied: Settings, hook: Webhook, mails: Mailbox) -> Settings:  # noqa: F811
    return replace(
        copied,
        alert_webhook_url=hook.url,
        alert_email=("ops@example.com", "data@example.com"),
        smtp_url=mails.url.replace("//", "//user:Pa55-canary@"),
        alert_stale_hours=0,
    )


def an_alert(**changes: object) -> Alert:
    values = {
        **{"key": "run:pipeline", "kind": "run-failed", "what": "step ingest failed", "stale": "all of it"},
        **{"since": datetime(2026, 11, 20), "runbook": "docs/runbook/run-failed.md", "warehouse": "here"},
    }
    return Alert(**{**values, **changes})


def test_a_failing_pipeline_is_told_once_with_all_that_is_needed_and_so_is_its_recovery(watched, hook, mails):
    model = watched.dbt_project_dir / "models/marts/core/fct_opens.sql"
    sound = model.read_text()
    model.write_text(sound + "\nwhere no_such_column")
    begun = watch.utc_now() - timedelta(seconds=1)
    outcome, reporter = run_once(watched)
    assert not outcome.success
    assert reporter.notes == []
    (told,) = hook.received
    assert (told["alert"], told["state"], told["run_id"]) == ("run-failed", "open", outcome.run_id)
    assert "dbt model fct_opens failed" in told["what"]
    assert begun <= datetime.fromisoformat(told["since"][:-1]) <= watch.utc_now()
    assert told["published"]["version"] == 1
    assert told["published"]["data_through_at"] == f"{NEWEST_EVENT:%Y-%m-%dT%H:%M:%SZ}"
    assert told["published"]["marts"] == [
        "core.fct_opens",
        "core.fct_tracking_events",
        "reports.rpt_tracking_indicators",
    ]
    assert "all 3 marts and reports stay at version 000001 (data through 2026-11-20 21:04 UTC" in told["numbers"]
    assert told["runbook"] == "docs/runbook/run-failed.md"
    (message,) = mails.messages
    assert mails.recipients == ["ops@example.com", "data@example.com"]
    assert message["Subject"] == "[message tracking] A run failed"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content().strip() == told["text"]
    assert base64.b64decode(mails.logins[0]) == b"\0user\0Pa55-canary"

    # The daemon comes to the same run, and the next hour's run fails in the same way.
    sensor = next(one for one in build_defs(watched).sensors if one.name == "failed_runs")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    with dg.DagsterInstance.get() as instance:
        run = instance.get_run_by_id(outcome.run_id)
        events = [entry.dagster_event for entry in instance.all_logs(run.run_id) if entry.dagster_event]
        (event,) = [event for event in events if event.is_job_failure]
        context = dg.build_run_status_sensor_context("failed_runs", event, instance, run).for_run_failure()
        sensor(context)
    again, _ = run_once(watched)
    assert not again.success
    assert (len(hook.received), len(mails.messages)) == (1, 1)

    model.write_text(sound)
    mended, _ = run_once(watched)
    assert mended.success, mended.failure
    over = hook.received[1]
    assert (over["state"], over["alert"], over["since"]) == ("over", "run-failed", told["since"])
    assert mails.messages[1]["Subject"] == "[message tracking] Over: A run failed"
    assert open_alerts(watched.warehouse_dir) == {}
    with dg.DagsterInstance.get() as instance:
        watch.run_finished(watched, instance, again.run_id, pytest.fail)
    assert len(hook.received) == 2, "the daemon comes to the failed run after a later one has worked"
    for path in watched.warehouse_dir.rglob("*"):
        assert not path.is_file() or not re.search(rb"T0KEN-canary|Pa55-canary", path.read_bytes()), path


def test_a_check_that_warns_is_told_and_a_webhook_that_fails_fails_no_run(watched, hook, mails):
    lines = [f"50x{pointer:016X}\tbroken\n" for pointer in range(5000, 5100)]
    log = watched.landing_dir / "tracking_logs/s5/0x0000000000001388.log"
    log.write_text("".join(lines))
    hook.answers = [503, 503]
    outcome, reporter = run_once(watched)
    assert outcome.success, outcome.failure
    assert reporter.notes == ["alert not sent by webhook: the webhook answered 503"]
    kinds = {message["Subject"]: message.get_content() for message in mails.messages}
    assert set(kinds) == {f"[message tracking] {KINDS[kind][0]}" for kind in ("lines-quarantined", "lines-missing")}
    text = kinds["[message tracking] Too many lines are quarantined"]
    assert "few_lines_are_quarantined: violated: at most 1.00" in text
    assert "published all the same, and to be read with this in mind: version 000002" in text
    # The one that got no answer is told the next time, and no channel is told twice.
    write_log(watched.landing_dir, 8000, 3)
    assert run_once(watched)[0].success
    assert sorted(told["alert"] for told in hook.received) == ["lines-missing", "lines-quarantined"]
    assert len(mails.messages) == 2


def test_a_command_that_cannot_begin_is_told(tmp_path, hook):
    environment = {"MTW_ALERT_WEBHOOK_URL": hook.url}
    done = mtw("run", landing=tmp_path / "landing", warehouse=tmp_path / "warehouse", settings=environment)
    assert done.returncode == 1
    (told,) = hook.received
    assert f"landing folder {tmp_path}/landing does not exist" in told["what"]
    assert told["numbers"] == "nothing is published yet"
    assert "T0KEN" not in done.stdout + done.stderr


def test_old_published_data_is_told_once_a_day_and_when_it_is_over(watched, hook, mails):
    hours = replace(watched, alert_stale_hours=26)
    limit = NEWEST_EVENT + timedelta(hours=26)
    assert "of 2026-11-20 21:04 UTC" in watch.published_data_is_old(hours, pytest.fail, limit)
    assert hook.received == []
    assert watch.published_data_is_old(hours, pytest.fail, limit + timedelta(minutes=10)).endswith("too old")
    watch.published_data_is_old(hours, pytest.fail, limit + timedelta(minutes=20))
    (told,) = hook.received
    assert (told["alert"], told["since"]) == ("data-stale", f"{limit:%Y-%m-%dT%H:%M:%SZ}")
    assert "1 day old" not in told["numbers"] and "26 hours old" in told["numbers"]
    memory = open_alerts(hours.warehouse_dir)["data-stale"]
    assert set(memory.at) == {"webhook", "e-mail"}
    # Of a reminder, only when it was last told counts.
    later = watch.utc_now() + timedelta(hours=25)
    watch.tell(
        hours, [an_alert(key="data-stale", kind="data-stale", what="the newest event is old")], pytest.fail, later
    )
    watch.tell(
        hours, [an_alert(key="data-stale", kind="data-stale", what="the newest event is old")], pytest.fail, later
    )
    assert len(hook.received) == 2
    watch.published_data_is_old(hours, pytest.fail, limit)
    assert hook.received[2]["state"] == "over"
    assert (watch.published_data_is_old(watched, pytest.fail), len(hook.received)) == (
        "MTW_ALERT_STALE_HOURS is 0: age is not watched", 3,
    )  # fmt: skip


def test_another_failure_is_news_and_another_count_is_none(watched, hook, mails):
    for what in ("14 rows of a", "15 rows of a", "15 rows of b"):
        watch.tell(watched, [an_alert(what=what)], pytest.fail)
    assert [told["what"] for told in hook.received] == ["14 rows of a", "15 rows of b"]


@pytest.mark.parametrize("answer", [302, 400, 404])
def test_an_answer_that_is_no_yes_is_not_asked_for_again(watched, hook, answer):
    hook.answers = [answer]
    with pytest.raises(NotSent, match=f"answered {answer}"):
        post(hook.url, an_alert())
    assert hook.requests == 1


def test_a_busy_webhook_is_asked_once_more(watched, hook):
    hook.answers = [429]
    post(hook.url, an_alert())
    assert (hook.requests, len(hook.received)) == (2, 1)


def test_servers_that_are_gone_or_refuse_are_one_line_without_secrets(watched, mails, tmp_path):
    gone = replace(
        watched,
        alert_webhook_url="http://127.0.0.1:9/T0KEN-canary",
        smtp_url="smtp://user:Pa55-canary@127.0.0.1:9",
    )
    said: list[str] = []
    watch.tell(gone, [an_alert()], said.append)
    mails.refuses_login = True
    watch.tell(watched, [an_alert(key="other")], said.append)
    assert said == [
        "alert not sent by webhook: the webhook cannot be reached (ConnectionRefusedError)",
        "alert not sent by e-mail: the mail cannot be sent (ConnectionRefusedError)",
        "alert not sent by e-mail: the mail server refused user and password of MTW_SMTP_URL",
    ]
    for url in ("smtp://mail..example.com", f"smtp://{'a' * 64}.example.com"):
        with pytest.raises(NotSent):
            mail(replace(watched, smtp_url=url), an_alert())
    assert set(channels(gone)) == {"webhook", "e-mail"}
    assert channels(replace(gone, alert_webhook_url=None, alert_email=())) == {}


def test_another_server_is_news_and_another_count_is_none(watched, hook):
    for what in ("server 5 has fallen silent (and 1 more)", "server 5 has fallen silent (and 7 more)"):
        watch.tell(watched, [an_alert(what=what)], pytest.fail)
    assert len(hook.received) == 1
    watch.tell(watched, [an_alert(what="server 6 has fallen silent (and 7 more)")], pytest.fail)
    assert len(hook.received) == 2


def test_who_was_told_hears_that_it_is_over_though_the_last_news_did_not_arrive(watched, hook):
    problems: list[str] = []
    watch.tell(watched, [an_alert(what="one")], problems.append)
    with_nobody = replace(watched, alert_webhook_url="http://127.0.0.1:9/", alert_email=())
    watch.tell(with_nobody, [an_alert(what="two")], problems.append)
    assert len(problems) == 1
    watch.tell(watched, [an_alert(is_over=True)], problems.append)
    assert [posted["state"] for posted in hook.received] == ["open", "over"]
    assert not open_alerts(watched.warehouse_dir)


def test_a_channel_that_nobody_answers_is_tried_once_a_call(watched, mails, monkeypatch):
    tried: list[str] = []

    def nobody(url: str, alert: Alert) -> None:
        tried.append(alert.key)
        raise NotReached("the webhook cannot be reached (TimeoutError)")

    monkeypatch.setattr("orchestration.alerts.channels.post", nobody)
    problems: list[str] = []
    watch.tell(watched, [an_alert(key=f"check:{number}") for number in range(5)], problems.append)
    assert tried == ["check:0"] and len(problems) == 5 and len(mails.messages) == 5
    watch.tell(watched, [an_alert(key="check:5")], problems.append)
    assert tried == ["check:0", "check:5"]


def test_a_password_goes_to_no_server_without_encryption(watched, mails, monkeypatch):
    monkeypatch.setattr("orchestration.alerts.channels._is_this_machine", lambda host: False)
    with pytest.raises(NotSent, match="no encryption"):
        mail(watched, an_alert())
    assert (mails.logins, mails.messages) == ([], [])


def test_other_peoples_text_is_inert(watched, hook, mails):
    watch.tell(watched, [an_alert(what=HOSTILE)], pytest.fail)
    (told,), (message,) = hook.received, mails.messages
    for text in (told["text"], message.get_content()):
        lines = text.strip().splitlines()
        assert [line.partition(":")[0] for line in lines] == [
            "A run failed", "what", "since", "numbers", "what to do", "warehouse",
        ]  # fmt: skip
        assert re.fullmatch(r"what: `[^`<>]*`", lines[1])
        assert all(line.isprintable() for line in lines)
        assert "eve@" not in text
        assert "://" not in text
    assert message.get_all("Subject") == ["[message tracking] A run failed"]
    assert message.get_content_type() == "text/plain"
    assert not re.search("[<>`\n]", told["what"])
    assert harmless("postgresql://me:secret@host/db") == "postgresql: //***@host/db"
    assert "evil" not in (watched.warehouse_dir / FILE).read_text(), "an erasure would have to look there"


@pytest.mark.parametrize(
    ("failure", "step", "checks", "kind"),
    [
        ("landing folder x does not exist", "ingest", [], "run-failed"),
        ("ingest failed: /w: No space left on device", "ingest", [], "disk-full"),
        (f"{DIED}: the lock of the warehouse is free.", "", [], "run-died"),
        ("the PostgreSQL copy was not made: refused", "published__postgresql", [], "copy-failed"),
        ("dbt test unique_x failed: Got 1 result", "models", [], "check-failed"),
        ("dbt model x failed: Binder Error", "models", [], "run-failed"),
        (
            "check a failed: violated",
            "",
            [FailedCheck("a: expectations", "violated", is_warning=False)],
            "check-failed",
        ),
        ("step ingest failed: x", "ingest", [FailedCheck("a: b", "violated", is_warning=True)], "run-failed"),
    ],
)
def test_what_failed_decides_the_kind(failure, step, checks, kind):
    outcome = Outcome("run", success=False, failure=failure, checks_passed=0, failed_checks=checks, failed_step=step)
    assert watch.kind_of(outcome) == kind


def test_what_cannot_be_remembered_is_told_all_the_same(watched, hook, mails):
    (watched.warehouse_dir / "alerts.lock").mkdir()
    said: list[str] = []
    watch.tell(watched, [an_alert(kind="disk-full"), an_alert(key="over", is_over=True)], said.append)
    assert [told["alert"] for told in hook.received] == ["disk-full"]
    assert len(said) == 1 and said[0].startswith("what was told is not remembered: ")


def test_whatever_goes_wrong_with_an_alert_the_run_goes_on(watched, hook):
    class Broken:
        def get_run_by_id(self, run_id: str) -> None:
            raise RuntimeError("database is locked: postgresql://me:secret@host")

    said: list[str] = []
    watch.run_finished(watched, Broken(), "7", said.append)
    assert said == ["no alert of run 7: RuntimeError: database is locked: postgresql://***@host"]


def test_nothing_is_read_or_written_where_nobody_is_to_be_told(copied):  # noqa: F811
    with dg.DagsterInstance.ephemeral() as instance:
        watch.run_finished(copied, instance, "no such run", pytest.fail)
    watch.tell(copied, [an_alert()], pytest.fail)
    assert not (copied.warehouse_dir / FILE).exists()
    sensors = {sensor.name: sensor.default_status for sensor in build_defs(copied).sensors}
    assert set(sensors.values()) == {dg.DefaultSensorStatus.STOPPED}


def test_the_command_shows_open_alerts_and_tries_the_channels(watched, hook, mails):
    environment = {
        "MTW_ALERT_WEBHOOK_URL": hook.url,
        "MTW_ALERT_EMAIL": "ops@example.com",
        "MTW_SMTP_URL": mails.url,
        "MTW_DBT_PROJECT_DIR": str(watched.dbt_project_dir),
    }
    places = {"landing": watched.landing_dir, "warehouse": watched.warehouse_dir}
    nobody = mtw("alerts", "--test", **places)
    assert nobody.returncode == 1 and "MTW_ALERT_WEBHOOK_URL" in nobody.stderr
    tried = mtw("alerts", "--test", **places, settings=environment)
    assert (tried.returncode, tried.stderr) == (0, "")
    assert hook.received[0]["alert"] == "test"
    assert mails.messages[0]["Subject"] == "[message tracking] A test"
    watch.tell(watched, [an_alert()], pytest.fail)
    shown = mtw("alerts", **places, settings=environment)
    assert "run:pipeline" in shown.stdout and "2026-11-20" in shown.stdout
    hook.answers = [404]
    failed = mtw("alerts", "--test", **places, settings=environment)
    assert failed.returncode == 1 and "the webhook answered 404" in failed.stderr
    assert "T0KEN" not in failed.stderr + failed.stdout + shown.stdout + tried.stdout


def test_settings_never_show_where_alerts_go():
    secrets = {"alert_webhook_url": "https://x.example/T0KEN-canary", "smtp_url": "smtp://user:Pa55-canary@x.example"}
    assert "canary" not in repr(Settings(Path("l"), Path("w"), **secrets))
