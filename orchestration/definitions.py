"""Everything that Dagster loads, put together in one place.

Belongs here: the list of assets, checks, jobs, schedules, sensors and resources. Does not: any of their bodies.
"""

import dagster as dg

from orchestration.assets.landing import build_ingest_asset
from orchestration.assets.models import build_dbt_assets, mart_keys
from orchestration.assets.postgres import build_copy_asset
from orchestration.assets.published import build_publish_asset
from orchestration.checks.anomalies import build_anomaly_checks
from orchestration.checks.landed import build_landed_checks
from orchestration.checks.marts import build_mart_checks
from orchestration.checks.verified import build_verified_check
from orchestration.dbt import load_manifest, prepare_manifest
from orchestration.jobs import build_jobs, build_retention_job
from orchestration.links import Links
from orchestration.permissions import restrict
from orchestration.reporting import RunReporter
from orchestration.resources import pipeline_lock_resource
from orchestration.schedules import build_schedules
from orchestration.scope import RESOURCE, scope_resource
from orchestration.sensors import build_alert_sensors, build_landing_sensor
from orchestration.settings import Settings


def build_defs(settings: Settings | None = None, *, reporter: RunReporter | None = None) -> dg.Definitions:
    """The definitions for some settings (those of the environment where None).

    reporter: told of a run's stages; a silent one where None. Parses the dbt project where it has changed.
    Raises SettingsError or DbtError, whose messages are one line.
    """
    settings = settings or Settings.load()
    settings.export()
    manifest = prepare_manifest(settings)
    marts = mart_keys(manifest)
    mart_checks = build_mart_checks(settings, marts)
    links = Links.of(settings, load_manifest(manifest))
    copy = build_copy_asset(settings, manifest, links)
    return dg.Definitions(
        assets=[
            build_ingest_asset(settings, links),
            build_dbt_assets(settings, manifest),
            build_publish_asset(settings, manifest, marts, links),
            *([copy] if copy else []),
        ],
        asset_checks=[
            build_landed_checks(settings),
            *(checks for checks in (mart_checks, build_anomaly_checks(settings, marts)) if checks),
            build_verified_check(settings),
        ],
        jobs=[*build_jobs(), build_retention_job(settings)],
        schedules=build_schedules(settings),
        sensors=[build_landing_sensor(settings), *build_alert_sensors(settings)],
        resources={
            "pipeline_lock": pipeline_lock_resource(settings),
            RESOURCE: scope_resource(),
            "reporter": dg.ResourceDefinition.hardcoded_resource(reporter or RunReporter()),
        },
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What workspace.yaml loads, into the processes of Dagster that write."""
    restrict()
    return build_defs()
