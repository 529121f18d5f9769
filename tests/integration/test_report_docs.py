"""Documentation made from a warehouse: example queries run, pictures are there, dbt's own documentation is whole."""

import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.settings import Settings
from report_docs.__main__ import REPORTS
from report_docs.charts import draw
from report_docs.dbt_docs import build_dbt_docs
from report_docs.pages import picture_of
from report_docs.reports import read_reports
from tests.conftest import Demo

FOUND = read_reports()


@pytest.mark.parametrize("report", FOUND, ids=lambda report: report.name)
def test_the_example_query_runs_and_what_it_shows_has_a_picture(demo: Demo, report: Any) -> None:
    with duckdb.connect(str(demo.published), read_only=True) as connection:
        cursor = connection.execute(report.example)
        columns, rows = [name for name, *_ in cursor.description or ()], cursor.fetchall()
    if draw(report.chart, columns, rows) is not None:
        assert (REPORTS / picture_of(report)).is_file(), "run: make docs"


@pytest.fixture(scope="module")
def dbt_docs(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """Manifest and catalogue, as the one HTML file holds them."""
    folder = tmp_path_factory.mktemp("docs")
    work = Path("work")
    (folder / work).mkdir()
    # A copy: dbt opens the database for writing, and other tests read the demo's meanwhile.
    shutil.copy(demo.warehouse / work / "warehouse.duckdb", folder / work)
    shutil.copytree(demo.warehouse / work / "dbt" / "parsed", folder / work / "dbt" / "parsed")
    text = build_dbt_docs(Settings(demo.landing, folder), folder / "dbt").read_text(encoding="utf-8")

    def part(name: str) -> dict[str, Any]:
        mark = f'{name}:{{"metadata"'
        start = text.index(mark) + len(name) + 1
        return json.JSONDecoder().raw_decode(text, start)[0]

    return part("manifest"), part("catalog")


def test_every_mart_and_column_is_described_in_the_dbt_documentation(dbt_docs: tuple[dict, dict]) -> None:
    manifest, catalog = dbt_docs
    marts = {
        name: node
        for name, node in manifest["nodes"].items()
        if node["resource_type"] == "model" and node["fqn"][1] == "marts"
    }
    assert {node["name"] for node in marts.values()} >= {report.name for report in FOUND}
    lacking = [node["name"] for node in marts.values() if not node["description"].startswith("Grain:")]
    for name, node in marts.items():
        built = catalog["nodes"][name]["columns"]
        lacking += [f"{node['name']}.{column}" for column in built if not node["columns"][column]["description"]]
    assert lacking == []
