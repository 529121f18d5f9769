"""`mtw lint` on a copy of the shipped project: silent where nothing is wrong with it, and loud about what is put in."""

import shutil
from pathlib import Path

from click.testing import CliRunner

from orchestration.cli import main
from orchestration.settings import PROJECT_DIR

MART = """
select
    messages.*,
    recipients.email,
    events.url_id // 2 as half
from {{ ref('fct_messages') }} as messages
inner join {{ ref('dim_recipients') }} as recipients
    on messages.recipient_id = recipients.recipient_id
inner join {{ ref('fct_tracking_events') }} as events
    on messages.delivery_id = events.delivery_id
where recipients.last_name is not null
"""


def lint(project: Path, tmp_path: Path) -> tuple[int, str]:
    environment = {
        "MTW_DBT_PROJECT_DIR": str(project),
        "MTW_LANDING_DIR": str(tmp_path / "landing"),
        "MTW_WAREHOUSE_DIR": str(tmp_path / "warehouse"),
    }
    result = CliRunner().invoke(main, ["lint"], env=environment)
    return result.exit_code, result.output


def test_what_a_new_mart_does_wrong_is_told(tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(PROJECT_DIR / "dbt_project", project, ignore=shutil.ignore_patterns("target", "logs"))
    (project / "models/marts/reports/rpt_wrong.sql").write_text(MART)
    (project / "models/marts/reports/rpt_wrong.yml").write_text(
        "models:\n  - name: rpt_wrong\n    config: {contract: {enforced: false}}\n"
    )
    code, output = lint(project, tmp_path)
    assert code == 1
    # Of the shipped models nothing is told.
    told = [line.split()[:2] for line in output.splitlines() if line.startswith(("core.", "reports.", "intermediate."))]
    assert {model for model, _ in told} == {"reports.rpt_wrong"}
    rules = {rule for _, rule in told}
    assert rules == {"star", "personal-column", "personal-filter", "integer-division", "fan-out"}
    assert not (tmp_path / "warehouse").exists()  # it looks, and makes nothing
