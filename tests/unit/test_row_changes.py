"""What a view declares of its rows is used only where it is all that the view reads, and shows its changes."""

import pytest

from orchestration.identifiers import HIDDEN, LINK, LINKS, LINKS_KEY, MaskedColumn
from orchestration.row_changes import RowWise, row_wise

EVENTS = {"events_logged": ["event_key"], "dim_labels": ["label_id"], "dim_people": []}


def node(
    name: str, kind: str, reads: tuple[str, ...] = (), columns: tuple[str, ...] = (), **meta: object
) -> dict[str, object]:
    return {
        "columns": dict.fromkeys(columns),
        "name": name, "schema": "intermediate" if name.startswith("events") else "core",
        "resource_type": "seed" if kind == "seed" else "model", "config": {"materialized": kind, "meta": meta},
        "depends_on": {"nodes": [f"n.{each}" for each in reads]},
    }  # fmt: skip


def found(
    *masked: MaskedColumn, key: tuple[str, ...] = ("event_key",), columns: tuple[str, ...] = (), **meta: object
) -> tuple[list[RowWise], str]:
    nodes = (
        node("events_logged", "incremental", logged_key="event_key"),
        node("events_silent", "incremental"),
        node("dim_labels", "table"),
        node("dim_people", "table"),
        node("kinds", "seed"),
        node("events_named", "view", ("events_logged", "dim_labels", "kinds")),
        node("fct", "view", ("events_named", "dim_people"), columns, **meta),
        node("fct_part", "view", ("fct",), changed_with="fct"),
    )
    manifest = {"nodes": {f"n.{each['name']}": each for each in nodes}}
    followed, wrong = row_wise(manifest, {("core", "fct"): key, ("core", "fct_part"): key}, ["core"], masked)
    return [each for each in followed if each.table == ("core", "fct")], "; ".join(wrong)


def test_all_that_is_read_is_named() -> None:
    expected = RowWise(
        ("core", "fct"), "event_key", {"events_logged": "event_key"}, {("core", "dim_labels"): ("label_id",)}
    )
    assert found(changed_by=EVENTS) == ([expected], "")
    followed, _ = found(MaskedColumn(("core", "fct"), "url", LINK), changed_by=EVENTS)
    assert followed[0].compared == {**expected.compared, LINKS: LINKS_KEY}
    assert found() == ([], "core.fct_part: it reads dim_labels, dim_people, events_logged and does not name it")


@pytest.mark.parametrize(
    ("changed_by", "why"),
    [
        ({name: EVENTS[name] for name in ("events_logged", "dim_people")}, "it reads dim_labels and does not name it"),
        (EVENTS | {"events_silent": ["event_key"]}, "events_silent can be neither followed nor compared"),
        (EVENTS | {"events_logged": ["event_key", "url_id"]}, "events_logged can be neither followed nor compared"),
    ],
)
def test_what_cannot_be_used_is_said(changed_by: dict[str, list[str]], why: str) -> None:
    followed, wrong = found(changed_by=changed_by)
    assert followed == [] and f"core.fct: {why}" in wrong


def test_what_the_log_leaves_out_cannot_be_followed() -> None:
    followed, wrong = found(columns=("event_key", "changed_in_run"), changed_by=EVENTS)
    assert followed == [] and "core.fct: changed_in_run changes without being logged" in wrong


@pytest.mark.parametrize(
    ("is_followed", "columns", "config"),
    [
        (True, ("delivery_id", "day_on"), {}),
        (False, ("day_on",), {}),
        (False, ("delivery_id",), {"unique_key": "delivery_id"}),
        (False, ("delivery_id",), {"incremental_strategy": "append"}),
        (False, ("delivery_id",), {"materialized": "table"}),
    ],
)
def test_models_that_replace_whole_deliveries_are_followed(
    is_followed: bool, columns: tuple[str, ...], config: dict[str, str]
) -> None:
    counts = node("agg_counts", "incremental", ("events_logged",), columns)
    counts["config"] = {"materialized": "incremental", "incremental_strategy": "replace_scope", "meta": {}} | config
    followed, wrong = row_wise({"nodes": {"n.agg_counts": counts}}, {}, ["core"], [])
    assert followed == [RowWise(("core", "agg_counts"), "delivery_id", replaces_deliveries=True)] * is_followed
    assert wrong == []


def test_a_key_of_several_columns_and_a_masked_table_are_no_use() -> None:
    assert "no one column tells its rows apart" in found(key=("a", "b"), changed_by=EVENTS)[1]
    followed, wrong = found(MaskedColumn(("core", "dim_labels"), "label", HIDDEN), changed_by=EVENTS)
    assert followed == [] and "core.fct: dim_labels is masked" in wrong
