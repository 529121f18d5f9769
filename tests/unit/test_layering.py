"""The layers import downwards only. There is no list of allowed exceptions."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    # Copied by itself to the server that receives.
    "collector": {"dagster", "dagster_dbt", "dbt", "duckdb", "pyarrow", "log_ingest", "orchestration", "reports"},
    "log_ingest": {"dagster", "dagster_dbt", "dbt", "great_expectations", "orchestration", "reports"},
    "orchestration": {"reports"},
    "reports": {"log_ingest", "orchestration", "dagster", "dbt"},
}


def imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_a_layer_knows_nothing_above_it(package: str) -> None:
    found = {
        str(path.relative_to(ROOT)): sorted(imported(path) & FORBIDDEN[package])
        for path in (ROOT / package).rglob("*.py")
        if imported(path) & FORBIDDEN[package]
    }
    assert found == {}


def test_parsing_stays_in_ingest() -> None:
    """Orchestration asks log_ingest through its entry points; formats, framing and landing are not its business."""
    inner = {"log_ingest.formats", "log_ingest.framing", "log_ingest.landing", "log_ingest.take_lines"}
    for path in (ROOT / "orchestration").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            assert module is None or not any(module.startswith(name) for name in inner), path


def test_every_module_says_what_belongs_there() -> None:
    for package in ("collector", "log_ingest", "orchestration", "report_docs", "reports"):
        for path in (ROOT / package).rglob("*.py"):
            assert ast.get_docstring(ast.parse(path.read_text())), path
