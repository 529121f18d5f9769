"""What the project says about its report marts: their YAML, put together with the indicator catalogue.

Belongs here: reading. Does not: how it is shown. dbt is not asked: the files are read as they are, so that a test
can compare pages with them in no time.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestration.catalogue import DBT_PROJECT_DIR, human_name, rows_by_doc

REPORTS_DIR = Path("models") / "marts" / "reports"

_DOC = re.compile(r"\{\{\s*doc\(\s*'(\w+)'\s*\)\s*\}\}")
_DOC_BLOCK = re.compile(r"\{% docs (\w+) %\}(.*?)\{% enddocs %\}", re.DOTALL)


@dataclass(frozen=True)
class Column:
    """A column; indicator: its row of the catalogue, where it is one. text: what the YAML says besides."""

    name: str
    data_type: str
    text: str
    indicator: dict[str, str] | None = None
    is_human_form: bool = False


@dataclass(frozen=True)
class Report:
    """A report mart. The fields from question on are its config.meta.report."""

    name: str
    source: str
    """Its YAML, below the checkout."""
    grain: str
    notes: str
    columns: tuple[Column, ...]
    question: str
    audience: str
    caveats: tuple[str, ...]
    example: str
    chart: dict[str, Any]

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)

    def human_form(self, column: Column) -> Column | None:
        """The column that counts the same without machine activity, where the mart has it."""
        found = self.column(human_name(column.name))
        return found if found and found.is_human_form else None


def read_reports(project: Path = DBT_PROJECT_DIR) -> list[Report]:
    """All report marts by name. Raises ValueError, which names file and key, where one does not say what it must."""
    docs = {
        name: " ".join(text.split())
        for path in sorted((project / "docs").glob("*.md"))
        for name, text in _DOC_BLOCK.findall(path.read_text(encoding="utf-8"))
    }
    indicators = rows_by_doc()
    found = []
    for path in sorted((project / REPORTS_DIR).glob("*.yml")):
        for model in yaml.safe_load(path.read_text(encoding="utf-8"))["models"]:
            found.append(_report(path, model, docs, indicators))
    return sorted(found, key=lambda report: report.name)


def _report(path: Path, model: dict[str, Any], docs: dict[str, str], indicators: dict[str, dict[str, str]]) -> Report:
    said = ((model.get("config") or {}).get("meta") or {}).get("report") or {}
    missing = [key for key in ("question", "audience", "example", "chart") if key not in said]
    if missing:
        raise ValueError(f"{path}: {model['name']} lacks config.meta.report.{missing[0]}; docs/add-your-own-report.md")
    words = " ".join(str(model.get("description") or "").split())
    grain = re.match(r"Grain: ([^.:]+)[.:]\s*", words)
    if not grain:
        raise ValueError(f'{path}: the description of {model["name"]} does not start with "Grain: … ."')
    notes = words[grain.end() :]
    return Report(
        name=model["name"],
        source=f"dbt_project/{path.relative_to(path.parents[3]).as_posix()}",
        grain=grain[1],
        notes=notes[:1].upper() + notes[1:],
        columns=tuple(_column(column, docs, indicators) for column in model["columns"]),
        **{key: said[key] for key in ("question", "audience", "example", "chart")},
        caveats=tuple(said.get("caveats") or ()),
    )


def _column(column: dict[str, Any], docs: dict[str, str], indicators: dict[str, dict[str, str]]) -> Column:
    described = str(column.get("description") or "")
    indicator, is_human_form = None, False
    for name in _DOC.findall(described):
        plain_name = name.removeprefix("indicator_").removeprefix("human_")
        if name.startswith("indicator_"):
            indicator = indicators[plain_name]
            is_human_form = name == f"indicator_{human_name(plain_name)}"
    text = _DOC.sub(lambda doc: "" if doc[1].startswith("indicator_") else docs[doc[1]], described)
    return Column(column["name"], str(column["data_type"]), " ".join(text.split()), indicator, is_human_form)
