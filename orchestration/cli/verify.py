"""mtw verify: the published marts next to those that the landed bytes give."""

import click

from orchestration.cli.shared import fail, load_settings, one_line_errors, terminal


@click.command("verify")
def verify_command() -> None:
    """Build all marts again from the landed bytes, beside the warehouse, and compare them with the published ones.

    Runs may go on meanwhile. After an interruption the same command goes on where it stopped.
    """
    with one_line_errors():
        from orchestration import console as view
        from orchestration.verify import verify

        with view.reporter() as reporter:
            found = verify(load_settings(), stage=reporter.stage, progress=reporter.built)
        out = terminal()
        header = ("mart", "rows published", "rows rebuilt", "only published", "only rebuilt", "verdict")
        rows = [
            (
                *(result.name, result.rows_published, result.rows_rebuilt, result.only_published, result.only_rebuilt),
                "equal" if result.is_equal else result.problem or "DIFFERS",
            )
            for result in found.results
        ]
        out.print(view.table(f"Version {found.version:06d}, rebuilt from batches 1 to {found.batch_id}", header, rows))
        for result in found.differing:
            for key in result.keys:
                out.print(view.shown(f"! {result.name}: only {key}", 300))
        facts: list[tuple[str, object]] = [
            ("marts", f"{len(found.results) - len(found.differing)} equal, {len(found.differing)} differ"),
            ("elapsed", view.duration(found.seconds) + (", after an interrupted one" if found.went_on else "")),
        ]
        out.print(view.table("", ("", ""), facts))
        if found.differing:
            first = found.differing[0]
            what = first.problem or f"first: {first.keys[0] if first.keys else first.name}"
            fail(
                f"{len(found.differing)} of {len(found.results)} marts differ from what the landed bytes give,"
                f" {first.name} among them ({what}); to publish what the bytes give, remove"
                " work/warehouse.duckdb from the warehouse folder, then: mtw run"
            )
