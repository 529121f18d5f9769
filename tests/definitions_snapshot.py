"""What Dagster is told, as lines of text: assets and their groups, checks, jobs, schedules, sensors, pools.

`python -m tests.definitions_snapshot` writes tests/definitions.txt anew, to be read in the diff and committed. Belongs
here: what we define. Does not: what a version of Dagster makes of it.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from orchestration.definitions import build_defs
from orchestration.settings import Settings

SNAPSHOT = Path(__file__).with_name("definitions.txt")


def snapshot() -> str:
    """Of the shipped project with every optional part: a platform's database, a PostgreSQL copy, alerts."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            Path(folder) / "landing",
            Path(folder) / "warehouse",
            reference_url="postgresql://nobody@127.0.0.1/none",
            publish_url="postgresql://nobody@127.0.0.1/none",
            alert_email=("nobody@example.com",),
        )
        return "\n".join(_lines(build_defs(settings))) + "\n"


def _lines(defs: dg.Definitions) -> Iterator[str]:
    graph = defs.resolve_asset_graph()
    yield "assets: key, group, whether freshness is watched"
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        freshness = ", freshness" if node.freshness_policy else ""
        yield f"  {key.to_user_string()} ({node.group_name}{freshness})"
    yield "checks: asset, name"
    for key in sorted(graph.asset_check_keys):
        spec = graph.get_check_spec(key)
        yield f"  {key.asset_key.to_user_string()}: {key.name}{' (blocks)' if spec.blocking else ''}"
    yield "jobs: executor, steps with their pools, number of assets, configuration, tags"
    for name in sorted(job.name for job in defs.jobs or ()):
        job = defs.resolve_job_def(name)
        yield f"  {name} ({job.executor_def.name})"
        for node in sorted(job.nodes, key=lambda node: node.name):
            yield f"    step {node.name} (pool {node.definition.pool or 'none'})"
        yield f"    {len(job.asset_layer.selected_asset_keys)} assets"
        if job.run_config:
            yield f"    configuration {json.dumps(job.run_config, sort_keys=True)}"
        for tag, value in sorted(job.tags.items()):
            yield f"    tag {tag}={value}"
    yield "schedules: name, job, cron, zone, at first"
    for schedule in sorted(defs.schedules or (), key=lambda one: one.name):
        when = f"{schedule.cron_schedule} {schedule.execution_timezone}"
        yield f"  {schedule.name}: {schedule.job_name}, {when}, {schedule.default_status.value}"
    yield "sensors: name, job, least seconds between, at first"
    for sensor in sorted(defs.sensors or (), key=lambda one: one.name):
        jobs = ", ".join(target.job_name for target in sensor.targets) or "none"
        yield f"  {sensor.name}: {jobs}, {sensor.minimum_interval_seconds}, {sensor.default_status.value}"
    yield "resources"
    for name in sorted(defs.resources or ()):
        yield f"  {name}"


if __name__ == "__main__":
    SNAPSHOT.write_text(snapshot(), encoding="utf-8")
