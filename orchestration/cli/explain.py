"""mtw explain: a number's definition, lineage and raw lines."""

import sys

import click

from orchestration.cli.shared import fail, load_settings, one_line_errors, terminal


@click.command()
@click.argument("target", metavar="MART[.COLUMN]")
@click.option("--delivery", type=int, help="The delivery's id.")
@click.option("--recipient", type=int, help="The recipient's id: for profile_tracking and other marts of events.")
@click.option("--domain", help="The recipient domain, where the mart has one row for each.")
@click.option("--url", type=int, help="The tracked URL's id, where the mart has one row for each.")
@click.option("--key", multiple=True, metavar="NAME=VALUE", help="Any other column that chooses the row; repeatable.")
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@click.option("--limit", type=click.IntRange(min=0), help="Raw lines for each number; a table shows 20, else all.")
def explain(
    target: str,
    delivery: int | None,
    recipient: int | None,
    domain: str | None,
    url: int | None,
    key: tuple[str, ...],
    form: str,
    limit: int | None,
) -> None:
    """A published number's definition, its lineage and the raw lines that make it.

    Examples: mtw explain rpt_tracking_indicators.recipient_click_count --delivery 1767440431;
    mtw explain profile_tracking --recipient 7
    """
    from orchestration.explain import UnknownName, explained

    named = {"delivery_id": delivery, "recipient_id": recipient, "mail_domain": domain, "url_id": url}
    keys = {name: str(value) for name, value in named.items() if value is not None}
    for entry in key:
        name, separator, value = entry.partition("=")
        if not separator:
            fail(f"--key {entry}: write it as NAME=VALUE", 2)
        keys[name] = value
    shown = 20 if limit is None and form == "table" else limit
    with one_line_errors():
        settings = load_settings()
        try:
            with explained(settings.published_database, settings.landed_dir, target, keys, shown) as found:
                from orchestration import explain_output as output

                if form == "csv":
                    output.write_csv(sys.stdout, found)
                elif form == "json":
                    output.write_json(sys.stdout, found)
                else:
                    output.print_table(terminal(), found)
                wrong = [".".join(filter(None, (part.mart, part.column))) for part in output.disagreements(found)]
        except UnknownName as error:
            fail(str(error), 2)
        if wrong:
            fail(f"the lines do not give the published value of {', '.join(wrong)}; run mtw verify")
