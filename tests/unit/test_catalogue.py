"""The indicator catalogue: every measure that is published says over what it may be summed."""

import csv
import re
from pathlib import Path

import pytest
import yaml

from orchestration.catalogue import TARGET, render

PROJECT = Path(__file__).parents[2] / "dbt_project"
MODELS = [
    model
    for path in sorted((PROJECT / "models" / "marts").glob("[cr]*/*.yml"))
    for model in yaml.safe_load(path.read_text())["models"]
    if not model["name"].startswith(("fct_", "dim_"))
]
NO_MEASURES = {
    # Codes, ranks and places: numbers that nobody would sum.
    *("url_type", "failure_reason", "position", "link_position", "step_number"),
    *("percentile", "bucket_seconds", "bucket_number", "elapsed_seconds"),
}


def measures(model: dict) -> list[dict]:
    return [
        column
        for column in model["columns"]
        if re.match("bigint|double|hugeint|integer|decimal", column["data_type"])
        and not column["name"].endswith("_id")
        and column["name"] not in NO_MEASURES
    ]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model["name"])
def test_every_measure_is_described_by_the_catalogue(model: dict) -> None:
    """Such a description ends with the additivity of the measure."""
    assert [column["name"] for column in measures(model) if "doc('indicator_" not in column["description"]] == []


def catalogue() -> list[dict[str, str]]:
    with (PROJECT / "seeds" / "indicator_catalogue.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_row_says_whether_it_adds_up() -> None:
    words = ("additive", "not additive")
    assert [row["name"] for row in catalogue() if not any(word in row["additivity"] for word in words)] == []


def test_distinct_counts_of_the_rollups_name_them() -> None:
    by_name = {row["name"]: row["additivity"] for row in catalogue() if row["mart"] == "rpt_tracking_indicators"}
    for name in ("recipient_open_count", "recipient_click_count", "person_click_count", "forward_estimate"):
        assert "rpt_tracking_rollups" in by_name[name]


def test_counts_are_of_catalogued_indicators() -> None:
    known = {(row["mart"], row["name"]) for row in catalogue()}
    with (PROJECT / "seeds" / "indicator_counts.csv").open(newline="") as stream:
        assert [row["name"] for row in csv.DictReader(stream) if (row["mart"], row["name"]) not in known] == []


def test_the_doc_blocks_are_those_of_the_catalogue() -> None:
    assert TARGET.read_text(encoding="utf-8") == render(), "run: python -m orchestration.catalogue"
