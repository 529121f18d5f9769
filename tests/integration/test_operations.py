"""The jobs beside the hourly one, when schedules let a tick pass, and what is tried again: on small_project."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import dagster as dg
import duckdb
import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, NoCredentialsError
from dagster import DagsterRunStatus

import log_ingest.ingest
from log_ingest import object_store
from log_ingest.errors import IngestError, StorageError
from log_ingest.ledger import Ledger
from orchestration import build_state, postgres_copy
from orchestration.alerts import watch
from orchestration.definitions import build_defs
from orchestration.jobs import BACKFILL, NIGHTLY, RETENTION, VERIFY, WRITERS
from orchestration.lock import PipelineLock, PipelineLocked
from orchestration.outcome import Outcome, outcome_of
from orchestration.postgres_copy import CopyError
from orchestration.publication import current
from orchestration.scope import RunScope, ScopeError
from orchestration.settings import Settings
from orchestration.transient import is_transient, waits_for
from tests.conftest import mtw
from tests.integration.test_definitions import (  # noqa: F401  (fixtures)
    copied,
    defs,
    first_run,
    run_once,
    settings,
    unchanged_environment,
    write_log,
)
from tests.receivers import webhook

AT_ONCE = (0.0, 0.0)


def execute(settings: Settings, job: str, **options: object) -> Outcome:  # noqa: F811
    """Run a job as the daemon does, but in this process."""
    found = build_defs(settings).resolve_job_def(job)
    with dg.DagsterInstance.get() as instance:
        result = found.execute_in_process(instance=instance, raise_on_error=False, **options)
        return outcome_of(result.run_id, result.success, result.all_events)


@pytest.fixture
def calm(copied: Settings) -> Settings:  # noqa: F811
    """A copy of the warehouse, which waits for nothing."""
    found = replace(copied, retry_seconds=AT_ONCE)
    found.export()
    return found


def tags(run_id: str) -> dict[str, str]:
    with dg.DagsterInstance.get() as instance:
        return instance.get_run_by_id(run_id).tags


# -- jobs


def test_the_night_checks_everything_and_publishes_nothing_that_readers_have(calm):
    night = execute(calm, NIGHTLY)
    assert night.success, night.failure
    assert "models" in night.steps and night.checks_passed > 15
    assert current(calm.published_dir).version == 1
    assert build_state.plan(calm, current(calm.published_dir).batch_id).reasons == ()
    assert tags(night.run_id)["mtw/why"] == "everything is checked"
    # What is new is published in the same run.
    write_log(calm.landing_dir, 1000, 50)
    assert execute(calm, NIGHTLY).success
    assert current(calm.published_dir).tables["core.fct_tracking_events"] == 350


def test_the_night_finds_what_rotted_long_ago_and_the_hour_does_not_look(calm):
    with Ledger(calm.ledger_path, read_only=True) as ledger:
        part = next(row["path"] for row in ledger.parts() if row["path"].startswith("tracking_logs/"))
    path = calm.landed_dir / part
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    hour, _ = run_once(calm)
    assert hour.success
    night = execute(calm, NIGHTLY)
    assert not night.success
    assert "landed_files_are_whole failed" in night.failure and part in night.failure
    assert "models" not in night.steps


def test_the_weekly_verification_compares_and_needs_no_lock(calm):
    with _writable(calm) as con:
        con.execute("update reports.rpt_tracking_indicators set total_click_count = 4711 where delivery_id = 1")
    with webhook() as hook:
        told = replace(calm, alert_webhook_url=hook.url)
        found = execute(told, VERIFY)
        with dg.DagsterInstance.get() as instance:
            watch.run_finished(told, instance, found.run_id, pytest.fail)
    assert found.success, "it says what it found; the run itself did its work"
    (failed,) = found.failed_checks
    assert failed.name == "published/marts: equals_a_rebuild"
    assert "reports.rpt_tracking_indicators equals its rebuild: 2 rows" in failed.reason
    (alert,) = hook.received
    assert alert["alert"] == "verify-differs"
    assert "the marts named above" in alert["numbers"]


@contextlib.contextmanager
def _writable(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:  # noqa: F811
    path = settings.published_database.resolve()
    path.chmod(0o644)
    with contextlib.closing(duckdb.connect(str(path))) as connection:
        yield connection


def test_the_launchpad_offers_what_a_run_can_be_asked(defs):  # noqa: F811
    job = defs.resolve_job_def(BACKFILL)
    wishes = job.run_config["resources"]["run_scope"]["config"]
    assert wishes == {"deliveries": [], "from_day": "", "to_day": "", "full_checks": False}
    assert defs.resolve_job_def(NIGHTLY).run_config["resources"]["run_scope"]["config"]["full_checks"] is True


@pytest.mark.parametrize(
    ("wishes", "says"),
    [
        ({"deliveries": [0]}, "a delivery's id is a number above 0"),
        ({"from_day": "2026-02-30"}, "'2026-02-30' is no day; write it like 2026-11-30"),
        ({"from_day": "'; drop table x --"}, "is no day"),
        ({"to_day": "2026-11-30"}, "a last day needs a first one"),
        ({"from_day": "2026-11-30", "to_day": "2026-11-01"}, "comes after"),
    ],
)
def test_wishes_that_make_no_sense_are_refused(wishes, says):
    with pytest.raises(ScopeError, match=says):
        RunScope.of(**wishes)


def test_a_wish_that_makes_no_sense_fails_its_run_in_one_line(calm):
    outcome = execute(calm, BACKFILL, run_config=_with(from_day="soon"))
    assert not outcome.success
    assert "'soon' is no day; write it like 2026-11-30" in outcome.failure
    usage = mtw("run", "--deliveries", "7,x", landing=calm.landing_dir, warehouse=calm.warehouse_dir)
    assert (usage.returncode, "--deliveries takes ids as numbers" in usage.stderr) == (2, True)


def _with(**wishes: object) -> dict[str, object]:
    return {"resources": {"run_scope": {"config": wishes}}}


def test_ids_are_unsigned_and_days_are_inclusive():
    scope = RunScope.of([-1, 5, 5], "2026-11-01")
    assert scope.deliveries == (5, 2**32 - 1)
    assert [day.isoformat() for day in scope.days] == ["2026-11-01", "2026-11-01"]


# -- schedules


def test_schedules_let_a_tick_pass_while_another_run_would_only_wait(calm):
    schedules = {schedule.name: schedule for schedule in build_defs(calm).schedules}
    assert {schedule.default_status for schedule in schedules.values()} == {dg.DefaultScheduleStatus.STOPPED}

    def tick(name: str, instance: dg.DagsterInstance) -> dg.RunRequest | str:
        found = schedules[name](dg.build_schedule_context(instance=instance))
        return found.skip_message if isinstance(found, dg.SkipReason) else found

    with dg.DagsterInstance.get() as instance:
        request = tick("hourly_tracking", instance)
        assert request.tags["mtw/started_by"] == "hourly_tracking"
        jobs = build_defs(calm)
        with PipelineLock(calm.lock_path):
            for name in ("hourly_tracking", "nightly_full_checks", "nightly_retention"):
                assert "the warehouse is locked by pid" in tick(name, instance), "by a command, for which nobody waits"
            assert isinstance(tick("weekly_verify", instance), dg.RunRequest)
            hourly = instance.create_run_for_job(jobs.resolve_job_def("pipeline"), status=DagsterRunStatus.STARTED)
            assert hourly.run_id in tick("hourly_tracking", instance)
            assert hourly.run_id in tick("nightly_retention", instance)
            assert isinstance(tick("nightly_full_checks", instance), dg.RunRequest), "behind an hourly run it waits"
            instance.delete_run(hourly.run_id)
        purging = instance.create_run_for_job(jobs.resolve_job_def(RETENTION), status=DagsterRunStatus.STARTED)
        assert purging.run_id in tick("hourly_tracking", instance)
        instance.delete_run(purging.run_id)
        queued = instance.create_run_for_job(jobs.resolve_job_def(BACKFILL), status=DagsterRunStatus.STARTED)
        assert queued.run_id in tick("hourly_tracking", instance)
        assert isinstance(tick("nightly_full_checks", instance), dg.RunRequest), "it waits in the queue"
        assert isinstance(tick("weekly_verify", instance), dg.RunRequest), "it only reads"
        waiting = instance.create_run_for_job(jobs.resolve_job_def(NIGHTLY), status=DagsterRunStatus.STARTED)
        assert waiting.run_id in tick("nightly_full_checks", instance)
    assert set(WRITERS) == {"pipeline", NIGHTLY, BACKFILL}


# -- what is tried again


def test_a_store_that_is_busy_is_asked_again_and_a_full_disk_is_not(calm, monkeypatch):
    attempts = []
    take_in = log_ingest.ingest.ingest

    def busy_twice(*arguments, **options):
        attempts.append(time.monotonic())
        if len(attempts) <= 2:
            try:
                raise StorageError("s3://b/k", "the store refused the request (SlowDown)", is_transient=True)
            except StorageError as error:
                raise IngestError(f"ingest failed: {error}") from error
        return take_in(*arguments, **options)

    monkeypatch.setattr("log_ingest.ingest.ingest", busy_twice)
    outcome, _ = run_once(calm)
    assert outcome.success, outcome.failure
    assert len(attempts) == 3

    def always(error: Exception):
        def fail(*arguments, **options):
            attempts.append(time.monotonic())
            raise error

        return fail

    for error, count in (
        (IngestError("/w: No space left on device; free space, then run again"), 1),
        (StorageError("s3://b/k", "busy", is_transient=True), 3),
    ):
        attempts.clear()
        passing = IngestError(f"ingest failed: {error}")
        passing.__cause__ = error
        monkeypatch.setattr("log_ingest.ingest.ingest", always(passing))
        outcome, _ = run_once(calm)
        assert (outcome.success, len(attempts)) == (False, count)
        assert str(error) in outcome.failure


def test_an_unattended_run_waits_for_the_lock_and_one_at_a_terminal_does_not(calm):
    patient = replace(calm, retry_seconds=(0.05, 0.05, 0.1, 0.1))
    lock = PipelineLock(calm.lock_path)
    lock.acquire()
    release = threading.Timer(2, lock.release)
    release.start()
    outcome = execute(patient, "pipeline")
    release.join()
    assert outcome.success, outcome.failure
    with PipelineLock(calm.lock_path):
        outcome, _ = run_once(patient)
        assert "locked by pid" in outcome.failure


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (PipelineLocked("locked by pid 1"), True),
        (build_state.DatabaseInUse("open in process 1"), True),
        (CopyError("refused", is_transient=True), True),
        (CopyError("no space on that server"), False),
        (StorageError("s3://b", "access denied"), False),
        (OSError(28, "No space left on device"), False),
        (dg.Failure("a check failed"), False),
    ],
)
def test_only_what_passes_by_itself_is_transient(error, passes):
    assert is_transient(error) is passes
    outer = RuntimeError("outer")
    outer.__cause__ = error
    assert is_transient(outer) is passes


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (ClientError({"Error": {"Code": "SlowDown"}}, "PutObject"), True),
        (ClientError({"Error": {"Code": "503"}}, "HeadObject"), True),
        (ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject"), False),
        (ClientError({"Error": {"Code": "NoSuchBucket"}}, "PutObject"), False),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:1"), True),
        (ConnectTimeoutError(endpoint_url="http://127.0.0.1:1"), True),
        (NoCredentialsError(), False),
    ],
)
def test_what_a_store_answers_says_whether_it_may_pass(error, passes):
    def refuse() -> None:
        raise error

    with pytest.raises(StorageError) as found:
        object_store._call("s3://b/k", refuse)
    assert is_transient(found.value) is passes


def test_a_postgresql_that_nobody_answers_for_may_come_back():
    with (
        pytest.raises(postgres_copy._Refused, match="check that the server is up") as found,
        postgres_copy._connected("postgresql://nobody:hunter2@127.0.0.1:1/none"),
    ):
        pytest.fail("somebody answers on port 1")
    assert found.value.is_transient
    assert "hunter2" not in str(found.value)


def test_waits_get_longer_and_longest_for_the_lock():
    settings = Settings.load({"MTW_RETRY_SECONDS": "1,4"}, dotenv=_nowhere)  # noqa: F811
    assert waits_for(settings, CopyError("x", is_transient=True)) == (1, 4)
    assert waits_for(settings, PipelineLocked("x")) == (6, 24)
    assert Settings.load({"MTW_RETRY_SECONDS": "0"}, dotenv=_nowhere).retry_seconds == ()
    assert Settings.load(settings.environment(), dotenv=_nowhere).retry_seconds == (1, 4)


_nowhere = Settings.load({}).warehouse_dir / "nowhere" / ".env"


# -- run tags


def test_runs_say_who_started_them_and_what_they_are_about(settings, first_run):  # noqa: F811
    found = tags_of(settings, first_run.run_id)
    assert found["mtw/started_by"] == "mtw run"
    assert found["mtw/access"] == "writes"
    assert found["mtw/version"] == "000001"
    assert found["mtw/batches"].startswith("1-")
    assert "nothing is published yet" in found["mtw/why"]


def tags_of(settings: Settings, run_id: str) -> dict[str, str]:  # noqa: F811
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        return instance.get_run_by_id(run_id).tags
