"""The command `mtw`. Exit codes: 0 done, 1 a check or a run failed, 2 wrong usage.

Belongs here: which commands there are. Each module beside this has the arguments of a few, and what is printed in which
order. None of them does the work itself. Imports that take long are inside the commands: `mtw --help` answers at once.
"""

import click

from orchestration.cli import (
    collector,
    demo,
    explain,
    health,
    ledger,
    privacy,
    project,
    purge,
    quarantine,
    run,
    sample,
    serve,
    status,
    verify,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="message-tracking-warehouse", prog_name="mtw")
def main() -> None:
    """The message-tracking warehouse: from raw tracking logs to numbers that people can trust.

    Settings come from the environment or a .env file: MTW_LANDING_DIR, MTW_WAREHOUSE_DIR, MTW_TIME_ZONE.
    """
    from orchestration.permissions import restrict

    restrict()


for _command in (
    *(run.run, sample.sample, status.status, quarantine.quarantine, ledger.ingest_worker, ledger.move_ledger_command),
    *(privacy.erase, purge.purge, privacy.export, explain.explain, demo.demo, serve.serve, collector.collector_map),
    *(project.machine_networks, project.dbt_project, project.lint_command, verify.verify_command),
    *(health.alerts, health.doctor),
):
    main.add_command(_command)
