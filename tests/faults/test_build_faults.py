"""A dbt build of the real models dies at any step, again and again, with news each time: one untroubled build then
gives what a warehouse that nothing ever happened to has.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from tests.campaign import write_csv
from tests.faults.trials import KILLED, Server, served
from tests.invariants import assert_accounted, assert_rerun_changes_nothing
from tests.loglines import line, logs
from tests.marts import assert_same_tables, build_marts, tables
from tests.robin import DELIVERY, OTHER_DELIVERY, QUINN, QUINNS, ROBINS, SAM, SAMS, write_all

MODELS = "+rpt_user_activity"
"""A report by delivery, and below it all incremental models that judge, reconcile and count events."""

STRIDE = 1 if os.environ.get("MTW_TESTS_EVERY_POINT") else 45
LATE_MESSAGE = 0x7A00_4001


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with served("tests.faults.build_child") as found:
        yield found


def arrive(landing: Path, number: int) -> None:
    """News that touch what is there already: late lines of old deliveries, a message whose events came first, a
    status.
    """
    rng = random.Random(number)
    messages = [(ROBINS, DELIVERY), (QUINNS, DELIVERY), (SAMS, OTHER_DELIVERY), (LATE_MESSAGE, OTHER_DELIVERY)]
    lines = []
    for place in range(8):
        message, delivery = rng.choice(messages)
        at = f"2024-05-0{rng.randint(1, 9)}T10:{rng.randint(0, 59):02d}:00.00"
        lines.append(
            line(1000 + number * 10 + place, at=at, message=message, delivery=delivery, url=rng.choice([1, 5]))
        )
    logs(landing, f"redir5/{number}.log", *lines)
    if number == 2:
        write_csv(
            landing, "messages",
            [{"message_id": LATE_MESSAGE, "delivery_id": OTHER_DELIVERY, "recipient_id": SAM, "status": 1}], "late.csv",
        )  # fmt: skip
    if number == 4:
        write_csv(
            landing, "messages",
            [{"message_id": QUINNS, "delivery_id": DELIVERY, "recipient_id": QUINN, "status": 2}], "changed.csv",
        )  # fmt: skip


def test_a_build_killed_again_and_again_converges(server: Server, tmp_path: Path) -> None:
    landing, warehouse = tmp_path / "landing", tmp_path / "warehouse"
    write_all(landing)
    build_marts(landing, warehouse, select=[MODELS])
    kills = 0
    for number, at in enumerate(range(4, 3000, STRIDE)):
        arrive(landing, number)
        # One of them dies in a rebuild from all rows, as changed rules and settings bring about.
        code = server(at, landing, warehouse, MODELS, "full" if number == 3 else "")
        assert code in (0, KILLED), at
        kills += code == KILLED
        with duckdb.connect(str(warehouse / "work" / "warehouse.duckdb")) as con:
            # A mark and the rows that it speaks of are there together, or neither is.
            assert con.execute(
                "select count(*) from state.model_marks where model = 'int_tracking_events__accepted' and batch_id >"
                f" (select max(batch_id) from '{warehouse}/landed/batches.parquet')"
            ).fetchone() == (0,)
        if code == 0:
            break
    assert kills >= 3
    assert server(0, landing, warehouse, MODELS, "") == 0
    untroubled = tmp_path / "untroubled"
    build_marts(landing, untroubled, select=[MODELS])
    assert_same_tables(tables(warehouse), tables(untroubled))
    assert_accounted(warehouse)
    assert_rerun_changes_nothing(landing, warehouse)
