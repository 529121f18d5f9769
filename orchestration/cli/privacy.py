"""mtw erase, mtw export: requests of one person."""

from pathlib import Path

import click

from orchestration.cli.run import run_and_tell
from orchestration.cli.shared import check_taken_in, fail, load_settings, one_line_errors, terminal

RECIPIENT = click.option(
    "--recipient", "recipients", type=int, multiple=True, required=True, help="The recipient's id."
)


@click.command()
@RECIPIENT
@click.argument("further", nargs=-1, type=int, metavar="[ID]...")
@click.option("--dry-run", is_flag=True, help="Say what would be erased; change nothing.")
@click.option("-v", "--verbose", is_flag=True, help="Let Dagster and dbt write their logs to the terminal.")
def erase(recipients: tuple[int, ...], further: tuple[int, ...], dry_run: bool, verbose: bool) -> None:
    """Erase recipients from everything the warehouse keeps; numbers stay. It cannot be undone.

    Lines and rows of theirs that arrive again are suppressed. The landing folder is not ours: its files are named.
    """
    with one_line_errors():
        from orchestration import console as view
        from orchestration import privacy

        settings = load_settings()
        try:
            ids = sorted({privacy.unsigned(number) for number in (*recipients, *further)})
        except ValueError as error:
            fail(str(error), 2)
        check_taken_in(settings)
        report = privacy.erase(settings, ids, is_dry=dry_run)
        out = terminal()
        rows = [(name, count) for name, count in report.counts.items() if count]
        title = "To be erased" if dry_run else "Erased"
        if rows:
            out.print(view.table(title, ("landed rows", "rows"), rows))
            found = [(name.replace("_", " "), count) for name, count in report.identifier_counts.items() if count]
            out.print(view.table("", ("identifiers", "distinct"), found))
        else:
            out.print("They were erased before; nothing of theirs has come since.")
        if report.files:
            out.print("Files of the landing folder that hold their lines; the warehouse never writes there:")
            for name in report.files:
                out.print(view.shown(f"  {name}", 400))
        if report.mentions:
            out.print("Reference rows about deliveries that mention them stay; correct them where they come from:")
            out.print(view.table("", ("reference rows", "rows"), sorted(report.mentions.items())))
        if dry_run:
            return
        if privacy.is_pending(settings):
            run_and_tell(settings, verbose=verbose)
        if report.erasure is not None:
            receipt = report.erasure
            facts: list[tuple[str, object]] = [
                ("receipt", receipt.erasure_id),
                ("erased at", receipt.erased_at),
                ("recipients", receipt.recipient_count),
            ]
            out.print(view.table("", ("", ""), facts))


@click.command()
@click.option("--recipient", type=int, required=True, help="The recipient's id.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="A new file; else standard output.")
def export(recipient: int, output: Path | None) -> None:
    """Everything held of a recipient, as JSON, with where each value came from."""
    with one_line_errors():
        import json
        import os

        from orchestration import privacy

        settings = load_settings()
        try:
            number = privacy.unsigned(recipient)
        except ValueError as error:
            fail(str(error), 2)
        check_taken_in(settings)
        if output is not None and output.exists():
            fail(f"{output} exists; name a file that does not", 2)
        text = json.dumps(privacy.export(settings, number), ensure_ascii=False, indent=1)
        if output is None:
            click.echo(text)
            return
        # It is all about one person: for the eyes of whoever asked.
        with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
            stream.write(text + "\n")
