"""mtw demo: a sample, a run, and where to look next."""

from pathlib import Path

import click

from orchestration.cli.run import run_and_tell
from orchestration.cli.sample import DEMO_EVENTS, fill_with_sample
from orchestration.cli.shared import from_here, load_settings, one_line_errors, terminal
from orchestration.cli.status import STATUS_HEADER, status_rows


@click.command()
@click.option("--events", type=click.IntRange(min=1), default=DEMO_EVENTS, show_default=True, help="Sample size.")
@click.option("-v", "--verbose", is_flag=True, help="Let Dagster and dbt write their logs to the terminal.")
def demo(events: int, verbose: bool) -> None:
    """Make a sample where the landing folder is empty, run the pipeline and show what came out."""
    with one_line_errors():
        from orchestration import console as view

        settings = load_settings()
        out = terminal()
        published = from_here(settings.published_database)  # now: a run may change the working directory
        landing = settings.landing_dir
        # What is in a bucket is taken as it is.
        if isinstance(landing, Path) and (not landing.is_dir() or not any(landing.iterdir())):
            out.print(f"Writing a sample of {events:,} events into {from_here(landing)}")
            fill_with_sample(landing, events, 1)
        run_and_tell(settings, verbose=verbose)

        from log_ingest.status import collect
        from orchestration.indicators import one_delivery
        from orchestration.settings import IS_CHECKOUT

        mtw, serving = (".venv/bin/mtw", "make serve") if IS_CHECKOUT else ("mtw", "mtw serve")
        explained = ""
        if shown := one_delivery(settings.published_database):
            out.print(view.table(f"\n{view.plain(shown.title)}", ("indicator", "all", "human"), shown.rows))
            number = f"rpt_tracking_indicators.recipient_click_count --delivery {shown.delivery_id}"
            explained = (
                f"  {mtw} explain {number}\n"
                "                            what a number means, and the raw lines that make it\n"
            )
        out.print(
            view.table(
                "\nControl totals",
                STATUS_HEADER,
                status_rows(collect(settings.warehouse_dir, ledger_at=settings.ledger_url)),
            )
        )
        out.print(
            "\nWhere to look next\n"
            f"  {serving:<26}the Dagster UI on http://127.0.0.1:3000: assets, checks, runs, schedule;\n"
            "                            the report pages on http://127.0.0.1:8501\n"
            f"  {published}\n"
            "                            the published database, for any DuckDB client; Parquet copies beside it\n"
            f"{explained}"
            f"  {mtw + ' status':<26}what was taken in, what is missing\n"
            f"  {mtw} quarantine list\n"
            "                            what was not accepted, and why"
        )
