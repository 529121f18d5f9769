"""mtw sample: a realistic landing folder."""

from pathlib import Path

import click

from orchestration.cli.shared import fail, one_line_errors, terminal

DEMO_EVENTS = 200_000


SAMPLE_EVENTS = (1_000, 100_000_000)


@click.command()
@click.option(
    "--events",
    type=click.IntRange(min=SAMPLE_EVENTS[0], max=SAMPLE_EVENTS[1], clamp=True),
    default=DEMO_EVENTS,
    show_default=True,
    help="Tracking events, 1,000 to 100,000,000 (other numbers: the nearest of these).",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="The same seed writes the same sample."
)
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def sample(events: int, seed: int, directory: Path) -> None:
    """Write a realistic landing folder into DIRECTORY, with a truth/ folder of independently computed results."""
    with one_line_errors():
        if str(directory).startswith("s3:/"):
            fail("a sample is written into a local folder; write it there, then copy it to the bucket", 2)
        if directory.is_dir() and any(directory.iterdir()):
            fail(f"{directory} is not empty; name a folder that is empty or does not exist", 2)
        fill_with_sample(directory, events, seed)
        terminal().print(f"Sample of {events:,} events in {directory}.\nNext: MTW_LANDING_DIR={directory} mtw run")


def fill_with_sample(directory: Path, events: int, seed: int) -> None:
    from log_ingest.sample import write_sample

    directory.mkdir(parents=True, exist_ok=True)
    write_sample(directory, events=events, seed=seed)
