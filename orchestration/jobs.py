"""The jobs: one, which does everything. A schedule, a sensor and `mtw run` all run this same job."""

from datetime import timedelta
from typing import Any

import dagster as dg

from orchestration.resources import JOB_NAME

EXPECTED_RUN_TIME = timedelta(hours=2)
"""Run monitoring ends a run after this, so that one that hangs does not hold up the schedule for ever."""


def build_pipeline_job() -> Any:  # Dagster does not export the type of an asset job
    return dg.define_asset_job(
        JOB_NAME,
        selection=dg.AssetSelection.all(),
        description="Take in what is new, check it, build the models, check the marts, publish them.",
        executor_def=dg.in_process_executor,
        tags={"dagster/max_runtime": str(int(EXPECTED_RUN_TIME.total_seconds()))},
    )
