"""Dagster: what is defined, and that one job takes in, checks, builds and publishes, or says in one line why not.

Runs on small_project, five models with the real project's schemas: the models have tests of their own.
"""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import duckdb
import pandas as pd
import pytest
import yaml
from dagster import DagsterRunStatus

from log_ingest.catalog import EMPTY_BATCH, LANDED_SCHEMAS, LEDGER_SCHEMAS
from log_ingest.formats.trackinglogd import RAW_FIELDS
from orchestration import build_state
from orchestration.checks import landed, marts, suites
from orchestration.checks.verdicts import Verdict, check_result
from orchestration.dbt import DbtError, dbt_args, group_name, load_manifest, prepare_manifest
from orchestration.definitions import build_defs
from orchestration.engine import DuckDB
from orchestration.home import SHIPPED, prepare_dagster_home
from orchestration.lock import PipelineLock
from orchestration.model_sql import primary_keys
from orchestration.permissions import UMASK
from orchestration.pipeline import Outcome, run_pipeline
from orchestration.postgres_structure import Key
from orchestration.publication import current
from orchestration.reporting import RunReporter
from orchestration.resources import POOL, fail_dead_runs
from orchestration.run_records import HOLDER_TAG
from orchestration.schedules import run_under_way
from orchestration.sensors import landing_fingerprint
from orchestration.settings import PROJECT_DIR, Settings
from orchestration.text import markdown, plain
from tests.conftest import made_once

SMALL_PROJECT = Path(__file__).with_name("small_project")
MTW = Path(sys.executable).with_name("mtw")
OUTCOME = "outcome.pickle"


def tracking_line(pointer: int, *, url_id: int = 1, user_agent: str = "Mozilla/5.0 (X11)") -> str:
    fields = [
        *(f"50x{pointer:016X}", f"2026-11-20T21:{pointer // 60 % 60:02d}:{pointer % 60:02d}.96"),
        *(f"{pointer % 20 + 1:x}", f"{pointer % 2 + 1:x}", f"{url_id:x}", "0"),
        *("e5155671-4ab7-4ce4-a763-3b82dda6d881", "h", "", user_agent, "52.46.20.64"),
    ]
    return "\t".join(fields) + "\n"


def write_log(landing: Path, first: int, count: int) -> None:
    folder = landing / "tracking_logs" / "s5"
    folder.mkdir(parents=True, exist_ok=True)
    lines = (tracking_line(pointer, url_id=1 + pointer % 3) for pointer in range(first, first + count))
    (folder / f"0x{first:016X}.log").write_text("".join(lines))


class StageReporter(RunReporter):
    """Remembers which stages a run went through."""

    def __init__(self) -> None:
        super().__init__()
        self.stages: list[str] = []

    def stage(self, name: str) -> None:
        self.stages.append(name)


def run_once(settings: Settings) -> tuple[Outcome, StageReporter]:
    reporter = StageReporter()
    return run_pipeline(settings, reporter), reporter


@pytest.fixture(scope="module", autouse=True)
def unchanged_environment() -> Iterator[None]:
    """Settings are exported for dbt and Dagster; they must not reach other tests."""
    before, umask = dict(os.environ), os.umask(UMASK)
    yield
    os.umask(umask)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Settings:
    """A warehouse that has run once over 300 lines, one of them corrupt. Tests must not change it.

    A copy for each module: the one run serves them all.
    """
    root = tmp_path_factory.mktemp("orchestration") / "of-module"
    shutil.copytree(
        made_once(tmp_path_factory, worker_id, "small-warehouse", make_small_warehouse), root, symlinks=True
    )
    found = _small_settings(root)
    prepare_dagster_home(found)
    return found


def _small_settings(root: Path) -> Settings:
    return Settings(root / "landing", root / "warehouse", dbt_project_dir=root / "project")


def make_small_warehouse(root: Path) -> None:
    write_log(root / "landing", 0, 300)
    with (root / "landing/tracking_logs/s5/0x0000000000000000.log").open("a") as log:
        log.write(f"50x{300:016X}\tcorrupt <script>\n")
    shutil.copytree(SMALL_PROJECT, root / "project")
    made = _small_settings(root)
    prepare_dagster_home(made)
    outcome, reporter = run_once(made)
    assert outcome.success, outcome.failure
    assert reporter.stages == ["load", "ingest", "check landed rows", "build", "check marts", "publish"]
    (root / OUTCOME).write_bytes(pickle.dumps(outcome))


@pytest.fixture(scope="module")
def first_run(settings: Settings) -> Outcome:
    """What came of that run; its settings are in the environment."""
    settings.export()
    found = pickle.loads((settings.landing_dir.parent / OUTCOME).read_bytes())
    assert isinstance(found, Outcome)
    return found


@pytest.fixture
def copied(settings: Settings, first_run: Outcome, tmp_path: Path) -> Settings:
    """The warehouse after its first run, to change."""
    root = settings.landing_dir.parent
    shutil.copytree(root, tmp_path / "copy", symlinks=True)
    return replace(
        settings,
        landing_dir=tmp_path / "copy/landing",
        warehouse_dir=tmp_path / "copy/warehouse",
        dbt_project_dir=tmp_path / "copy/project",
    )


@pytest.fixture(scope="module")
def defs(settings: Settings) -> dg.Definitions:
    return build_defs(settings)


# -- what is defined


def test_assets_and_their_groups(defs):
    graph = defs.resolve_asset_graph()
    found = {key.to_user_string(): graph.get(key).group_name for key in graph.get_all_asset_keys()}
    assert found == {
        **{f"landed/{name}": "landing" for name in [*LANDED_SCHEMAS, "batches", *LEDGER_SCHEMAS]},
        "staging/stg_tracking_logs__lines": "staging_tracking_logs",
        "core/fct_tracking_events": "core",
        "core/fct_opens": "core",
        "reports/rpt_tracking_indicators": "reports",
        "meta/indicator_catalogue": "seeds",
        "published/marts": "published",
    }


def test_publishing_waits_for_every_mart_and_models_for_the_landed_rows(defs):
    graph = defs.resolve_asset_graph()
    parents = {key.to_user_string() for key in graph.get(dg.AssetKey(["published", "marts"])).parent_keys}
    assert parents == {
        *("core/fct_tracking_events", "core/fct_opens"),
        *("reports/rpt_tracking_indicators", "meta/indicator_catalogue"),
    }
    lines = graph.get(dg.AssetKey(["staging", "stg_tracking_logs__lines"]))
    assert lines.parent_keys == {dg.AssetKey(["landed", "tracking_logs"])}


def test_the_edge_checks_block_and_dbt_tests_are_checks(defs):
    graph = defs.resolve_asset_graph()
    specs = {key: graph.get_check_spec(key) for key in graph.asset_check_keys}
    blocking = {f"{key.asset_key.to_user_string()}:{key.name}" for key, spec in specs.items() if spec.blocking}
    assert blocking >= {
        *("landed/tracking_logs:expectations", "landed/tracking_logs:every_new_line_is_sound"),
        *("landed/messages:expectations", "landed/batches:rows_match_the_ledger"),
        "reports/rpt_tracking_indicators:expectations",
    }
    names = {key.name for key in specs}
    assert "unique_rpt_tracking_indicators_delivery_id" in names


def test_everything_that_starts_by_itself_is_stopped_at_first(defs):
    schedule = defs.get_schedule_def("hourly_tracking")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("5 * * * *", "UTC")
    assert schedule.job_name == "pipeline"
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    sensors = {sensor.name: sensor.default_status for sensor in defs.sensors}
    assert set(sensors) == {"landing_folder", "failed_runs", "finished_runs", "published_data_age"}
    assert set(sensors.values()) == {dg.DefaultSensorStatus.STOPPED}


def test_every_asset_says_what_it_is_whose_and_where_to_read_on(defs):
    assert_presentable(defs)
    job = defs.resolve_job_def("pipeline")
    assert {node.definition.pool for node in job.nodes if not node.name.startswith("check_")} == {POOL}


def assert_presentable(defs: dg.Definitions) -> None:
    """Every asset that a run makes has what the UI shows of it: group, owner, description, kinds, links."""
    graph = defs.resolve_asset_graph()
    keys = [key for key in graph.get_all_asset_keys() if graph.get(key).is_executable]
    assert keys
    for key in keys:
        node = graph.get(key)
        assert node.group_name not in (None, "default"), key
        assert node.owners, key
        assert node.description, key
        assert node.kinds, key
        assert isinstance(node.metadata["docs"], dg.PathMetadataValue | dg.UrlMetadataValue), key


@pytest.fixture
def restored_environment() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def real_project(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Of the shipped project, which is parsed once for the tests that only look at it."""
    root = tmp_path_factory.mktemp("real")
    return Settings(root / "landing", root / "warehouse")


def test_the_real_project_is_presentable_and_its_marts_lead_to_their_pages(real_project, restored_environment):
    """All assets of the shipped project, with a PostgreSQL copy, links to a site of one's own."""
    linked = replace(
        real_project, publish_url="postgresql://nobody@127.0.0.1/none",
        reports_url="https://tracking.example.com/pages", docs_url="https://docs.example.com/main/docs",
    )  # fmt: skip
    found = build_defs(linked)
    assert_presentable(found)
    graph = found.resolve_asset_graph()
    assert graph.get(dg.AssetKey(["published", "postgresql"])).parent_keys == {dg.AssetKey(["published", "marts"])}

    def links(*path: str) -> dict[str, str]:
        metadata = graph.get(dg.AssetKey(path)).metadata
        return {name: value.value for name, value in metadata.items() if isinstance(value, dg.UrlMetadataValue)}

    base = "https://tracking.example.com/pages"
    assert links("reports", "rpt_user_activity") == {
        "docs": "https://docs.example.com/main/docs/reports/rpt_user_activity.md",
        "page_delivery": f"{base}/delivery",
        "page_platform": f"{base}/platform",
    }
    assert links("reports", "rpt_tracking_statistics_curve")["page_dashboard"] == f"{base}/deliveries"
    assert links("reports", "profile_tracking")["page_profile"] == f"{base}/profile"
    assert links("landed", "tracking_logs")["page_health"] == f"{base}/health"
    assert links("published", "postgresql")["docs"].endswith("/connect-your-bi-tool.md")


def test_every_mart_of_the_real_project_has_a_primary_key_for_the_copy(real_project, restored_environment):
    keys = primary_keys(load_manifest(prepare_manifest(real_project)))
    marts = {(path.parent.name, path.stem) for path in (PROJECT_DIR / "dbt_project/models/marts").rglob("*.sql")}
    assert len(marts) > 40
    assert marts - set(keys) == set(), "name the key by a uniqueness test or in meta.primary_key"
    nullable = {mart for mart in marts if not keys[mart].is_never_null}
    assert nullable == set(), "test these columns with grain or never_null"
    assert keys["meta", "machine_rules"] == Key(("kind", "pattern"), is_never_null=False)


def test_exposures_name_what_the_pages_read():
    """The queries of a report page and its exposure say the same."""
    exposures = {
        entry["name"]: {re.search(r"'(\w+)'", ref)[1] for ref in entry["depends_on"]}
        for entry in yaml.safe_load((PROJECT_DIR / "dbt_project/models/exposures.yml").read_text())["exposures"]
    }
    pages = ("dashboard", "delivery", "profile", "platform", "health", "lineage")
    assert set(exposures) == {"bi_tools", *(f"page_{name}" for name in pages)}
    models = {path.stem for path in (PROJECT_DIR / "dbt_project/models/marts").rglob("*.sql")}
    models |= {path.stem for path in (PROJECT_DIR / "dbt_project/seeds").glob("*.csv")}
    queries = PROJECT_DIR / "reports" / "queries"
    for folder in (path for path in queries.glob("*") if path.is_dir()):
        text = "\n".join(path.read_text() for path in folder.rglob("*.sql"))
        read = set(re.findall(r"\b(?:core|reports|meta)\.(\w+)", text)) & models
        # Clear values are shown on two pages, where they are shown at all.
        shown = ("profile", "delivery") if folder.name == "identities" else (folder.name,)
        assert read - set().union(*(exposures[f"page_{page}"] for page in shown)) == set(), folder.name
    marts = {path.stem for path in (PROJECT_DIR / "dbt_project/models/marts").glob("[cr]*/*.sql")}
    assert marts - set().union(*exposures.values()) == set(), "no page or tool is said to read these"


def test_freshness_is_watched_at_both_ends(defs):
    graph = defs.resolve_asset_graph()
    watched = {key.to_user_string() for key in graph.get_all_asset_keys() if graph.get(key).freshness_policy}
    assert watched == {"landed/tracking_logs", "published/marts"}


def test_the_whole_job_is_one_process(defs):
    assert defs.resolve_job_def("pipeline").executor_def is dg.in_process_executor


@pytest.mark.parametrize(
    ("full_refresh", "expected"),
    [
        (False, ["build", "--exclude-resource-type", "unit_test"]),
        (True, ["build", "--exclude-resource-type", "unit_test", "--full-refresh"]),
    ],
)
def test_dbt_args(full_refresh, expected):
    assert dbt_args(full_refresh=full_refresh) == expected


@pytest.mark.parametrize(
    ("kind", "fqn", "expected"),
    [
        ("model", ["p", "staging", "reference", "stg_x"], "staging_reference"),
        ("model", ["p", "intermediate", "int_x"], "intermediate"),
        ("model", ["p", "marts", "core", "fct_x"], "core"),
        ("model", ["p", "x"], "models"),
        ("seed", ["p", "catalogue"], "seeds"),
        ("source", ["p", "landed", "x"], None),
    ],
)
def test_the_group_is_the_folder(kind, fqn, expected):
    assert group_name({"resource_type": kind, "fqn": fqn}) == expected


def test_the_manifest_is_parsed_once_for_each_state_of_the_project(settings, first_run, tmp_path):
    manifest = prepare_manifest(settings)
    before = manifest.stat().st_mtime_ns
    assert prepare_manifest(settings).stat().st_mtime_ns == before
    with pytest.raises(DbtError, match="holds no dbt project"):
        prepare_manifest(replace(settings, dbt_project_dir=tmp_path))


def test_a_test_in_a_file_of_its_own_belongs_to_the_mart_that_it_reads(tmp_path):
    nodes = {
        "model.p.stg": {"resource_type": "model", "schema": "staging"},
        "model.p.rpt": {"resource_type": "model", "schema": "reports"},
        "test.p.both": {"resource_type": "test", "depends_on": {"nodes": ["model.p.stg", "model.p.rpt"]}},
        "test.p.none": {"resource_type": "test", "depends_on": {"nodes": []}},
        "test.p.column": {"resource_type": "test", "attached_node": "model.p.stg", "depends_on": {"nodes": []}},
    }
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"nodes": nodes}))
    attached = {name: node.get("attached_node") for name, node in load_manifest(path)["nodes"].items()}
    assert attached["test.p.both"] == "model.p.rpt"
    assert attached["test.p.none"] is None
    assert attached["test.p.column"] == "model.p.stg"


# -- runs


def test_one_run_publishes_what_landed(settings, first_run):
    publication = current(settings.published_dir)
    assert publication.version == 1
    assert publication.run_id == first_run.run_id
    assert publication.tables["core.fct_tracking_events"] == 300
    assert (first_run.checks_passed, first_run.failed_checks) == (22, [])
    with duckdb.connect(str(settings.published_database.resolve()), read_only=True) as connection:
        assert connection.execute("select sum(success_count) from reports.rpt_tracking_indicators").fetchone() == (20,)


def test_the_run_can_be_looked_at_afterwards(settings, first_run):
    with dg.DagsterInstance.get() as instance:
        run = instance.get_run_by_id(first_run.run_id)
        assert run.status == DagsterRunStatus.SUCCESS
        metadata = {
            key.to_user_string(): instance.get_latest_materialization_event(key).asset_materialization.metadata
            for key in (
                *(dg.AssetKey(["landed", "tracking_logs"]), dg.AssetKey(["core", "fct_tracking_events"])),
                dg.AssetKey(["published", "marts"]),
            )
        }
        checks = instance.event_log_storage.get_latest_asset_check_execution_by_key(
            [dg.AssetCheckKey(dg.AssetKey(["landed", "tracking_logs"]), landed.EXPECTATIONS)]
        )
    assert "| 300 |" in metadata["landed/tracking_logs"]["control_totals"].value
    assert metadata["landed/tracking_logs"]["quarantined_rows"].value == 1
    model = metadata["core/fct_tracking_events"]
    assert model["dagster/row_count"].value == 300
    assert {column.name for column in model["dagster/column_schema"].value.columns} >= {"event_key", "occurred_at"}
    published = metadata["published/marts"]
    assert published["version"].value == "000001"
    assert "<b>" not in published["main_indicators"].value, "labels are shown, not rendered"
    assert r"Delivery &lt;b&gt;1" in published["main_indicators"].value
    (check,) = checks.values()
    assert "no line is landed twice" in check.event.asset_check_evaluation.metadata["rules"].value


def test_a_run_with_nothing_new_skips_models_and_publishing(copied):
    outcome, reporter = run_once(copied)
    assert outcome.success
    assert reporter.stages == ["load", "ingest"]
    assert reporter.plan.reasons == ()
    assert list(outcome.steps) == ["ingest"]
    assert current(copied.published_dir).version == 1


def test_new_lines_make_a_new_version_and_a_warning_stops_nothing(copied):
    write_log(copied.landing_dir, 301, 50)
    folder = copied.landing_dir / "tracking_logs" / "s6"
    folder.mkdir()
    # Unknown message: more than one line in five, which is worth a warning.
    (folder / "0x0000000000000000.log").write_text(
        "".join(tracking_line(n).replace("50x", "60x").replace(f"\t{n % 20 + 1:x}\t", "\t0\t", 1) for n in range(50))
    )
    outcome, _ = run_once(copied)
    assert outcome.success, outcome.failure
    assert current(copied.published_dir).tables["core.fct_tracking_events"] == 400
    assert current(copied.published_dir).version == 2
    with dg.DagsterInstance.get() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(["core", "fct_tracking_events"]))
    lineage = event.asset_materialization.metadata["dagster/column_lineage"].value.deps_by_column
    assert {dep.asset_key.path[-1] for dep in lineage["event_key"]} == {"stg_tracking_logs__lines"}, (
        "looked up by the first run, kept for this one"
    )
    (warning,) = outcome.failed_checks
    assert warning.is_warning
    assert "at most one line in five knows no message" in warning.reason


def test_a_mart_that_breaks_a_rule_is_not_published(copied):
    model = copied.dbt_project_dir / "models/marts/reports/rpt_tracking_indicators.sql"
    model.write_text(model.read_text().replace("/ nullif(count(distinct message_id), 0)", "* 1.0"))
    outcome, reporter = run_once(copied)
    assert not outcome.success
    assert "publish" not in reporter.stages
    assert "raw_reactivity is NULL or between 0 and 1: 2 rows" in outcome.failure
    assert "nothing was published" in outcome.failure
    assert "\n" not in outcome.failure
    assert current(copied.published_dir).version == 1
    # Nothing has landed since, and still the next run does not call it up to date.
    assert build_state.plan(copied, current(copied.published_dir).batch_id).reasons


def test_a_failing_model_ends_in_one_line_and_is_tried_again(copied):
    model = copied.dbt_project_dir / "models/marts/core/fct_tracking_events.sql"
    good = model.read_text()
    model.write_text(good.replace("visitor_id,", "no_such_column,"))
    outcome, _ = run_once(copied)
    assert not outcome.success
    assert outcome.failure.startswith("dbt model fct_tracking_events failed: ")
    assert "no_such_column" in outcome.failure
    assert "\n" not in outcome.failure
    assert current(copied.published_dir).version == 1
    model.write_text(good)
    assert build_state.plan(copied, current(copied.published_dir).batch_id).reasons == (
        "the last build did not finish",
    )


def fail_where(settings, condition, error):
    """A model that fails with an error of DuckDB's where the condition, in Jinja, holds."""
    model = settings.dbt_project_dir / "models/marts/core/fct_tracking_events.sql"
    where = f"{{% if {condition} %}}error('{error}') is null{{% else %}}true{{% endif %}}"
    model.write_text(f"select * from (\n{model.read_text()}\n) as rows where {where}")


@pytest.mark.parametrize("helps", [True, False])
def test_a_build_that_ran_out_of_memory_is_tried_with_one_model_at_a_time(copied, helps):
    profiles = copied.dbt_project_dir / "profiles.yml"
    profiles.write_text(profiles.read_text().replace("threads: 1", "threads: 2"))
    fail_where(copied, "target.threads > 1" if helps else "true", "Out of Memory Error: could not allocate block")
    outcome, _ = run_once(copied)
    assert outcome.success == helps, outcome.failure
    assert current(copied.published_dir).version == (2 if helps else 1)
    if not helps:
        assert outcome.failure.endswith("raise MTW_MEMORY_LIMIT, then run again")


def test_over_many_rows_models_are_built_one_at_a_time_from_the_start(copied, monkeypatch):
    monkeypatch.setattr(DuckDB, "MUCH", 1)
    profiles = copied.dbt_project_dir / "profiles.yml"
    profiles.write_text(profiles.read_text().replace("threads: 1", "threads: 2"))
    fail_where(copied, "target.threads > 1", "a second thread")
    outcome, _ = run_once(copied)
    assert outcome.success, outcome.failure


@pytest.mark.parametrize("helps", [True, False])
def test_a_build_in_which_the_engine_broke_down_is_tried_without_some_optimizers(copied, helps):
    usual = "not env_var('MTW_DBT_DISABLED_OPTIMIZERS', '')" if helps else "true"
    fail_where(copied, usual, "INTERNAL Error: dictionary changed identity")
    outcome, _ = run_once(copied)
    assert outcome.success == helps, outcome.failure
    assert current(copied.published_dir).version == (2 if helps else 1)
    if not helps:
        assert "INTERNAL Error" in outcome.failure


def test_landed_rows_that_differ_from_the_ledger_stop_the_models(copied):
    write_log(copied.landing_dir, 1000, 50)
    # A part that rotted: rows are gone after the ledger counted them.
    reporter = StageReporter()
    part_lost = copied.warehouse_dir / "landed/tracking_logs"

    class Saboteur(StageReporter):
        def stage(self, name: str) -> None:
            super().stage(name)
            if name == "check landed rows":
                batches = {int(path.name.split("=")[1]): path for path in part_lost.glob("batch_id=*")}
                newest = batches[max(batches.keys() - {EMPTY_BATCH})]
                for file in newest.glob("*.parquet"):
                    file.unlink()

    reporter = Saboteur()
    outcome = run_pipeline(copied, reporter)
    assert not outcome.success
    assert "build" not in reporter.stages
    assert "landed_files_are_whole failed" in outcome.failure
    assert "landed/batches: rows_match_the_ledger" in {check.name for check in outcome.failed_checks}
    assert current(copied.published_dir).version == 1


def test_a_run_refuses_to_begin_while_another_holds_the_lock(copied):
    with PipelineLock(copied.lock_path):
        outcome, reporter = run_once(copied)
    assert not outcome.success
    assert reporter.stages == ["load"]
    assert f"locked by pid {os.getpid()} since 20" in outcome.failure


def test_a_broken_working_database_is_built_again(copied):
    copied.working_database.write_bytes(b"\0" * 5000)
    outcome, reporter = run_once(copied)
    assert outcome.success, outcome.failure
    assert reporter.plan.reasons == ("the working database has to be built",)
    assert current(copied.published_dir).tables["core.fct_tracking_events"] == 300


def test_a_working_database_that_stays_open_elsewhere_is_no_broken_one(copied):
    hold = "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); print('open', flush=True); time.sleep(60)"
    child = subprocess.Popen(
        [sys.executable, "-c", hold, str(copied.working_database)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline() == "open\n"
        with pytest.raises(build_state.DatabaseInUse, match=f"open in process {child.pid}; end that"):
            build_state.discard_unreadable_database(copied, patience_seconds=0)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    assert build_state.discard_unreadable_database(copied) is False
    assert copied.working_database.is_file()


def test_a_run_whose_process_died_is_failed_and_gives_back_its_slot(copied, defs):
    copied.export()
    prepare_dagster_home(copied)
    job = defs.resolve_job_def("pipeline")
    with dg.DagsterInstance.get() as instance:
        dead = instance.create_run_for_job(job, tags={HOLDER_TAG: copied.lock_name}, status=DagsterRunStatus.STARTED)
        storage = instance.event_log_storage
        storage.initialize_concurrency_limit_to_default(POOL)
        storage.claim_concurrency_slot(POOL, dead.run_id, "models")
        assert storage.get_concurrency_info(POOL).active_slot_count == 1
        with PipelineLock(copied.lock_path):
            assert fail_dead_runs(copied, instance) == [], "its process may be alive"
        assert run_under_way(instance) == dead.run_id
        assert fail_dead_runs(copied, instance) == [dead.run_id]
        assert instance.get_run_by_id(dead.run_id).status == DagsterRunStatus.FAILURE
        assert storage.get_concurrency_info(POOL).active_slot_count == 0
        assert run_under_way(instance) is None


def test_the_sensor_asks_once_for_each_change(settings, first_run):
    defs = build_defs(settings)
    sensor = next(sensor for sensor in defs.sensors if sensor.name == "landing_folder")
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance=instance)
        asked = sensor(context)
        assert len(asked.run_requests) == 1
        again = sensor(dg.build_sensor_context(instance=instance, cursor=asked.cursor))
        assert isinstance(again, dg.SkipReason)
        instance.create_run_for_job(defs.resolve_job_def("pipeline"), status=DagsterRunStatus.STARTED)
        busy = sensor(dg.build_sensor_context(instance=instance, cursor="{}"))
        assert "still under way" in busy.skip_message


def test_the_fingerprint_sees_growth_and_new_files(tmp_path):
    write_log(tmp_path, 0, 5)
    before = landing_fingerprint(tmp_path)
    (log,) = tmp_path.rglob("*.log")
    os.utime(log, ns=(before.newest_mtime_ns, before.newest_mtime_ns))
    assert landing_fingerprint(tmp_path) == before
    with log.open("a") as file:
        file.write("x")
    os.utime(log, ns=(before.newest_mtime_ns, before.newest_mtime_ns))
    assert landing_fingerprint(tmp_path) != before


# -- checks by themselves


def frame(**changes: object) -> pd.DataFrame:
    row = {
        **{"source_file": "a", "line_number": 1, "server": "5", "pointer": 1, "url_id": 1},
        **{"message_id": 1, "delivery_id": 1, "time_flag": None},
        **dict.fromkeys(RAW_FIELDS, "x"),
        **{"occurred_at": pd.Timestamp("2026-01-01"), "ingested_at": pd.Timestamp("2026-01-02")},
    }
    rows = pd.DataFrame([row | changes]).astype({"time_flag": object})
    with duckdb.connect() as connection:
        connection.register("rows", rows)
        derived = landed.derived(suites.load("landed_tracking_logs"))
        return landed.sample(connection, "rows", derived, list(rows.columns), len(rows))


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"server": "55"}, "server is one letter or digit"),
        ({"pointer": -1}, "pointer is not negative"),
        ({"url_id": None}, "url_id is there"),
        ({"occurred_at": pd.Timestamp("1970-01-01")}, "a time without a flag lies after 2000"),
        ({"occurred_at": pd.Timestamp("2026-01-04")}, "a time without a flag is at most a day ahead of its arrival"),
        ({"time_flag": "odd"}, "the time flag is a known one"),
    ],
)
def test_a_bad_landed_row_breaks_its_rule_and_is_shown(changes, rule):
    verdicts = {verdict.rule: verdict for verdict in suites.run(suites.load("landed_tracking_logs"), frame(**changes))}
    broken = verdicts[rule]
    assert not broken.passed
    assert broken.outcome == "violated", broken.problem
    assert broken.offending == 1
    assert broken.sample[0]["source_file"] == "a"


@pytest.mark.parametrize("changes", [{}, {"occurred_at": pd.Timestamp("1970-01-01"), "time_flag": "far_past"}])
def test_good_landed_rows_break_no_critical_rule(changes):
    verdicts = suites.run(suites.load("landed_tracking_logs"), frame(**changes))
    assert [verdict.rule for verdict in verdicts if not verdict.passed and verdict.severity == "critical"] == []


def test_no_rows_break_no_rule():
    verdicts = suites.run(suites.load("landed_tracking_logs"), frame().head(0))
    assert all(verdict.passed for verdict in verdicts)


def test_a_missing_column_is_no_violated_rule():
    verdicts = suites.run(suites.load("landed_tracking_logs"), frame().drop(columns="pointer"))
    failed = {verdict.rule: verdict for verdict in verdicts if not verdict.passed}
    assert set(failed) == {"pointer is there", "pointer is not negative"}
    for verdict in failed.values():
        assert verdict.outcome == "could not be evaluated"
        assert verdict.problem == "column pointer is missing"


def test_drift_of_landed_columns_is_named():
    columns = [name for name in LANDED_SCHEMAS["tracking_logs"].names if name != "server"]
    verdict = landed.columns_verdict([*columns, "surprise"], "tracking_logs")
    assert not verdict.passed
    assert verdict.problem == "missing: server; unexpected: surprise"
    assert landed.columns_verdict(LANDED_SCHEMAS["tracking_logs"].names, "tracking_logs").passed


def test_every_suite_names_rule_and_severity():
    for suite in [*landed.landed_suites(), *suites.load_all("mart_")]:
        for expectation in suite.expectations:
            assert expectation["rule"], suite.name
            assert expectation["severity"] in ("critical", "warning"), suite.name


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ({"recipient_click_count": 9}, "to click is to open (recipient_click_count ≤ recipient_open_count)"),
        ({"total_click_count": -1}, "total_click_count is not negative"),
        ({"raw_reactivity": 1.5}, "raw_reactivity is NULL or between 0 and 1"),
        ({"human_total_click_count": 7}, "human_total_click_count is not above total_click_count"),
        ({"delivery_id": None}, "delivery_id is there"),
    ],
)
def test_an_impossible_indicator_breaks_its_rule(row, rule):
    good = {
        **{"delivery_id": 1, "recipient_open_count": 5, "recipient_click_count": 2, "total_click_count": 6},
        **{"human_total_click_count": 6, "raw_reactivity": 0.4, "estimated_reactivity": None},
    }
    with duckdb.connect() as connection:
        connection.execute("create schema reports")
        values = ", ".join(f"{'null' if value is None else value}::double as {name}" for name, value in good.items())
        connection.execute(f"create table reports.rpt_tracking_indicators as select {values}")
        suite = suites.load("mart_tracking_indicators")
        assert marts.run_mart_suite(connection, suite).passed
        name, value = next(iter(row.items()))
        connection.execute(f"update reports.rpt_tracking_indicators set {name} = ?", [value])
        result = marts.run_mart_suite(connection, suite)
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.ERROR
    line = next(line for line in result.metadata["rules"].value.splitlines() if markdown(rule) in line)
    assert "violated" in line
    assert result.description.startswith("violated: ")


def test_articles_that_come_back_are_no_impossible_count():
    """A machine brought back more than people bought: any request to a page may say so."""
    with duckdb.connect() as connection:
        connection.execute("create schema reports")
        connection.execute(
            "create table reports.rpt_tracking_indicators as select 1 as delivery_id, 5 as recipient_open_count,"
            " 2 as recipient_click_count, 6 as total_click_count, 0.4 as raw_reactivity, 0.4 as estimated_reactivity,"
            " -3 as article_count, 0 as human_article_count"
        )
        assert marts.run_mart_suite(connection, suites.load("mart_tracking_indicators")).passed


def test_warnings_do_not_become_errors_and_hostile_rows_stay_inert():
    hostile = "![p](http://evil/px)<script>|\x1b[31m\u202e"
    verdict = Verdict("a rule", False, "warning", 1, [{"user_agent": hostile}])
    result = check_result([verdict, Verdict("b", True)], asset_key=dg.AssetKey("x"), check_name="c")
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)
    shown = result.metadata["offending_rows_1"].value
    for active in ("![p]", "](http", "<script>", "\x1b", "\u202e"):
        assert active not in shown
    assert plain(hostile).isprintable()


# -- DAGSTER_HOME and the command line


def test_dagster_home_keeps_what_people_edited(tmp_path):
    settings = Settings(tmp_path / "l", tmp_path / "w")
    path = prepare_dagster_home(settings) / "dagster.yaml"
    shipped = yaml.safe_load(SHIPPED.read_text())
    written = yaml.safe_load(path.read_text())
    assert written.pop("storage")["custom"]["class"] == "KeptOpenStorage"
    assert written == shipped
    assert shipped["concurrency"]["pools"]["default_limit"] == 1
    assert shipped["run_monitoring"]["max_runtime_seconds"] > 0
    assert shipped["run_monitoring"]["free_slots_after_run_end_seconds"] > 0
    path.write_text("# shipped 0000000000000000\ntelemetry: {enabled: false}\n")
    prepare_dagster_home(settings)
    assert "0000000000000000" in path.read_text(), "an edited file stays"


def mtw(*arguments: str, root: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **{key: value for key, value in os.environ.items() if key != "DAGSTER_HOME"},
        **{"MTW_LANDING_DIR": str(root / "landing"), "MTW_WAREHOUSE_DIR": str(root / "warehouse")},
        "MTW_DBT_PROJECT_DIR": str(SMALL_PROJECT),
        **environ,
    }
    return subprocess.run([str(MTW), *arguments], env=environment, capture_output=True, text=True, cwd=root)


def test_an_empty_landing_folder_publishes_no_rows(settings, first_run, tmp_path):
    (tmp_path / "landing").mkdir()
    empty = replace(settings, landing_dir=tmp_path / "landing", warehouse_dir=tmp_path / "warehouse")
    shutil.copytree(settings.dbt_dir, empty.dbt_dir)  # parsing again would take longer than the run
    outcome, _ = run_once(empty)
    assert outcome.success, outcome.failure
    publication = current(empty.published_dir)
    assert publication.tables["core.fct_tracking_events"] == 0
    assert publication.data_through_at is None


def test_the_command_says_that_there_is_nothing_new(copied):
    result = mtw("run", root=copied.landing_dir.parent, MTW_DBT_PROJECT_DIR=str(copied.dbt_project_dir))
    assert (result.returncode, result.stderr) == (0, "")
    assert "nothing new: the published version is up to date" in result.stdout
    assert "version 000001" in result.stdout


def test_a_missing_landing_folder_is_one_line(tmp_path):
    result = mtw("run", root=tmp_path)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith(f"mtw: landing folder {tmp_path}/landing does not exist; ")
    assert not (tmp_path / "warehouse").exists()


def test_a_running_pipeline_is_one_line(tmp_path):
    (tmp_path / "landing").mkdir()
    with PipelineLock(tmp_path / "warehouse" / "run.lock"):
        result = mtw("run", root=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith(f"mtw: locked by pid {os.getpid()} since ")
    assert result.stderr.count("\n") == 1


def test_wrong_usage_and_settings(tmp_path):
    assert mtw("run", "--nonsense", root=tmp_path).returncode == 2
    result = mtw("status", root=tmp_path, MTW_TIME_ZONE="Mars")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "MTW_TIME_ZONE is 'Mars'" in result.stderr


def test_status_and_quarantine_of_a_warehouse(settings, first_run):
    root = settings.landing_dir.parent
    status = mtw("status", root=root)
    assert status.returncode == 0, status.stderr
    for expected in ("tracking_logs", "300", "version 000001", "success"):
        assert expected in status.stdout
    listed = mtw("quarantine", "list", root=root)
    assert "corrupt <script>" in listed.stdout
    shown = mtw("quarantine", "show", "tracking_logs/s5/0x0000000000000000.log", "301", root=root)
    assert shown.returncode == 0, shown.stderr
    assert r"50x000000000000012C\tcorrupt <script>" in shown.stdout
    assert mtw("quarantine", "show", "none.log", "1", root=root).returncode == 1


def test_doctor_finds_what_is_wrong(settings, first_run, tmp_path):
    assert mtw("doctor", root=settings.landing_dir.parent).returncode == 0
    result = mtw("doctor", root=tmp_path)
    assert result.returncode == 1
    assert f"{tmp_path}/landing does not exist" in result.stderr
    assert any(line.startswith("WRONG  landing folder") for line in result.stdout.splitlines())


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from orchestration.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'dagster', 'dbt', 'duckdb', 'pandas', 'pyarrow', 'great_expectations', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.endswith("[]\n"), result.stdout
