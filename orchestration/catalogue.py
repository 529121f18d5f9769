"""Writes dbt_project/docs/indicators.md from the indicator catalogue: `python -m orchestration.catalogue [--check]`.

Belongs here: turning catalogue rows into dbt doc blocks. Does not: what an indicator means, which stands once, in
dbt_project/seeds/indicator_catalogue.csv, and reaches column comments, docs and report pages from there.
"""

import csv
import sys
from collections.abc import Iterator

import click

from orchestration.settings import PROJECT_DIR

DBT_PROJECT_DIR = PROJECT_DIR / "dbt_project"
CATALOGUE = DBT_PROJECT_DIR / "seeds" / "indicator_catalogue.csv"
TARGET = DBT_PROJECT_DIR / "docs" / "indicators.md"
HEADING = "<!-- Made from seeds/indicator_catalogue.csv by `python -m orchestration.catalogue`: edit the seed. -->\n"


def human_name(name: str) -> str:
    """The column that counts the same without machine activity."""
    return f"human_{name}"


def blocks(row: dict[str, str], with_human_form: set[str]) -> Iterator[tuple[str, str]]:
    """(prefix of the column, description) of one catalogue row: the indicator, and its human form where it has one."""

    def human_part(text: str) -> str:
        # A denominator such as success_count, which machines cannot inflate, stays as it is.
        words = (human_name(word) if word in with_human_form else word for word in text.split(" "))
        return " ".join(words)

    parts = [row["definition"]]
    if row["numerator"]:
        parts.append(f"Numerator: {row['numerator']}. Denominator: {row['denominator']}.")
    reference = f'Known in Adobe Campaign Classic as "{row["reference_name"]}".' if row["reference_name"] else ""
    tail = [f"Decision {row['decision'].replace(' ', ', ')}." if row["decision"] else ""]
    tail.append(f"Unit: {row['unit']}. Additivity: {row['additivity']}.")
    yield "", " ".join(filter(None, [*parts, reference, *tail]))
    if row["has_human_form"] == "true":
        human = f"{row['name']} without the events judged machine-made. {row['definition']}"
        if row["numerator"]:
            human += f" Numerator: {human_part(row['numerator'])}. Denominator: {human_part(row['denominator'])}."
        yield human_name(""), " ".join(filter(None, [human, *tail]))


def rows_by_doc() -> dict[str, dict[str, str]]:
    """Every row of the catalogue, by the name of its doc block less indicator_ (and human_)."""
    with CATALOGUE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found: dict[str, dict[str, str]] = {}
    named: set[str] = set()
    for row in rows:
        # A name that another mart uses for something else carries the mart's name.
        found[f"{row['mart']}_{row['name']}" if row["name"] in named else row["name"]] = row
        named.add(row["name"])
    return found


def render() -> str:
    """The whole text of docs/indicators.md."""
    rows = rows_by_doc()
    with_human_form = {row["name"] for row in rows.values() if row["has_human_form"] == "true"}
    texts = []
    for name, row in rows.items():
        for prefix, text in blocks(row, with_human_form):
            texts.append(f"{{% docs indicator_{prefix}{name} %}}\n{text}\n{{% enddocs %}}\n")
    return "\n".join([HEADING, *texts])


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit 1 when the file is out of date.")
def main(check: bool) -> None:
    """Write the doc blocks of all indicators from the catalogue."""
    text = render()
    if check:
        if not TARGET.is_file() or TARGET.read_text(encoding="utf-8") != text:
            click.echo(f"{TARGET} is out of date; run: python -m orchestration.catalogue", err=True)
            sys.exit(1)
    else:
        TARGET.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
