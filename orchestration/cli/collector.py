"""mtw collector-map: for the server that redirects."""

import click

from orchestration.cli.shared import load_settings, one_line_errors


@click.command("collector-map")
@click.argument("server", type=click.Choice(["nginx", "apache"]))
def collector_map(server: str) -> None:
    """Print where the collector's links lead, from the published links, as a map for its server."""
    with one_line_errors():
        from orchestration import collector_map as made

        found = made.collector_map(load_settings().published_database, "nginx" if server == "nginx" else "apache")
        for line in found.lines:
            click.echo(line)
        for line in made.summary(found):
            click.echo(line, err=True)
