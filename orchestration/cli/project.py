"""mtw dbt-project, mtw lint, mtw machine-networks: the dbt project in use, its models and its rules."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestration.cli.shared import COPY_FIRST, fail, is_installed, load_settings, one_line_errors, terminal

if TYPE_CHECKING:
    from datetime import datetime


@click.command("machine-networks")
@click.argument("network")
@click.argument("listing", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--listed-on", type=click.DateTime(["%Y-%m-%d"]), help="Day of the list; today where not given.")
def machine_networks(network: str, listing: Path, listed_on: "datetime | None") -> None:
    """Replace a network's address ranges in the rules by those of a newer list, one range a line.

    NETWORK is a name that a rule asks for: apple_private_relay. The next run judges anew and records what changes.
    """
    from datetime import UTC, datetime

    with one_line_errors():
        from orchestration.machine_networks import replace

        project = load_settings().dbt_project_dir
        if is_installed(project):
            fail(f"the rules of an installation stay as they are; for a copy of your own: {COPY_FIRST}")
        seed = project / "seeds" / "machine_networks.csv"
        count = replace(seed, network, listing, (listed_on or datetime.now(UTC)).date())
        click.echo(f"{network}: {count:,} ranges. Next: mtw run")


@click.command("dbt-project")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def dbt_project(directory: Path) -> None:
    """Copy the dbt project in use (models, rules, tests) into DIRECTORY, to change it there.

    The pipeline uses the copy where MTW_DBT_PROJECT_DIR names it.
    """
    with one_line_errors():
        import shutil

        source = load_settings().dbt_project_dir
        if directory.exists() and any(directory.iterdir()):
            fail(f"{directory} is not empty; name a folder that is empty or does not exist", 2)
        ignored = shutil.ignore_patterns("target", "logs", ".user.yml")
        shutil.copytree(source, directory, ignore=ignored, dirs_exist_ok=True)
        click.echo(f"A copy of {source} in {directory}.\nNext: MTW_DBT_PROJECT_DIR={directory} mtw run")


@click.command("lint")
def lint_command() -> None:
    """Look through the models for SQL that means another thing on another engine, that multiplies rows, or that shows
    personal data in a report.

    Reads the project of MTW_DBT_PROJECT_DIR and runs nothing. Layout and style are sqlfluff's.
    """
    with one_line_errors():
        from orchestration.console import table
        from orchestration.sql_lint.project import lint

        found = lint(load_settings())
    if not found:
        return
    console = terminal()
    rows = [[each.model, each.rule, each.line or "", f"{each.message}\n{each.text}".strip()] for each in found]
    console.print(table(f"{len(found)} findings", ["model", "rule", "line", "what is wrong"], rows, limit=400))
    fail("the models need a change; line is of the compiled SQL, which is below dbt's target/compiled")
