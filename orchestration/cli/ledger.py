"""mtw ingest-worker, mtw move-ledger: several processes take in lines, with a ledger in PostgreSQL."""

import click

from orchestration.cli.shared import fail, load_settings, one_line_errors, terminal


@click.command("ingest-worker")
@click.option("--once", is_flag=True, help="Take in what is there and nobody else takes, then end.")
@click.option(
    "--every", "pause", type=click.FloatRange(min=1), default=10.0, show_default=True, help="Seconds between looks."
)
def ingest_worker(once: bool, pause: float) -> None:
    """Take in lines beside runs and other workers, on this or another machine, until it is ended.

    Needs MTW_LEDGER_URL, and the landing folder and landed rows of the run under the same settings. It never builds or
    publishes, takes in no reference data, and stands still while a run builds. It may be killed at any moment.
    """
    with one_line_errors():
        import time

        from orchestration import ingest_worker as worker

        settings = load_settings()
        while True:
            report = worker.take_turn(settings)
            for line in worker.told(report):
                click.echo(line)
            if once:
                return
            time.sleep(pause)


@click.command("move-ledger")
def move_ledger_command() -> None:
    """Move the ledger from its file into the database that MTW_LEDGER_URL names. Landed rows stay where they are."""
    with one_line_errors():
        from log_ingest.move_ledger import move_ledger
        from orchestration.lock import PipelineLock

        settings = load_settings()
        if settings.ledger_url is None:
            fail("MTW_LEDGER_URL is not set: it names the database to move the ledger to")
        with PipelineLock.of(settings):
            kept = move_ledger(settings.ledger_path, settings.ledger_url)
        terminal().print(f"The ledger is in PostgreSQL now; {kept} is what it was. Next: mtw run")
