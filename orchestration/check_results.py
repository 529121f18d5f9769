"""meta.check_results: the checks of the run that publishes a version, beside the numbers they are about.

Belongs here: reading them from Dagster's event log. Does not: any check, or writing the table (orchestration.publish).
"""

import dagster as dg

from orchestration.published_tables import MetaTable
from orchestration.text import plain

COMMENT = (
    "Grain: one row per check of the run that published this version; checks that follow publishing are not in it."
)
COLUMNS = {
    "asset": ("varchar", "What was checked: the asset's key."),
    "check_name": ("varchar", "Name of the check."),
    "passed": ("boolean", "Whether it held."),
    "severity": ("varchar", "error: had it failed, nothing would have been published; warning: it is only said."),
    "description": ("varchar", "What the check said, where it says anything."),
}
MAX_DESCRIPTION = 400


def check_results(instance: dg.DagsterInstance, run_id: str) -> MetaTable:
    """The results so far of a run; a check that ran twice counts with its last result."""
    rows: dict[tuple[str, str], tuple[object, ...]] = {}
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION):
        if entry.dagster_event is None:
            continue
        result = entry.dagster_event.asset_check_evaluation_data
        asset = result.asset_key.to_user_string()
        is_warning = result.severity == dg.AssetCheckSeverity.WARN
        rows[asset, result.check_name] = (
            asset,
            result.check_name,
            result.passed,
            "warning" if is_warning else "error",
            plain(result.description, MAX_DESCRIPTION) if result.description else None,
        )
    return MetaTable("check_results", COMMENT, COLUMNS, [rows[key] for key in sorted(rows)])
