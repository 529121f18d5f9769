"""mtw serve: the Dagster UI and the report pages."""

import sys
from pathlib import Path

import click

from orchestration.cli.shared import load_settings, one_line_errors


@click.command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; any but this machine's needs MTW_LOGIN.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Of the Dagster UI.")
@click.option(
    "--reports-port", type=click.IntRange(1, 65535), default=8501, show_default=True, help="Of the report pages."
)
@click.option(
    "--only",
    type=click.Choice(["webserver", "daemon", "reports"]),
    help="One of the three, in this process: for systemd and containers.",
)
@click.option(
    "--workspace",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A workspace.yaml of code servers; the pipeline's code, loaded by each process, where not given.",
)
def serve(host: str, port: int, reports_port: int, only: str | None, workspace: Path | None) -> None:
    """Run the Dagster web server, its daemon (schedules, sensors) and the report pages until interrupted."""
    with one_line_errors():
        from orchestration import serve as serving

        workspace = workspace.absolute() if workspace else serving.WORKSPACE
        if only:
            serving.become(load_settings(), only, host, port, reports_port, workspace)
        sys.exit(serving.serve(load_settings(), host, port, reports_port, workspace))
