"""Opens after a withdrawal of consent are counted, and lead to nobody; what was given again is tracked again."""

from pathlib import Path

import pytest

from tests.loglines import line, logs
from tests.marts import assert_same_tables, build_marts, connect, tables

DELIVERY, SHOP = 0x61, 0x10
ANNA, BEN = 1, 2
"""Recipients; their messages have the same numbers."""


def at(minute: int) -> str:
    return f"2024-05-01T10:{minute:02d}:00.000"


def reference(landing: Path, entity: str, name: str, text: str) -> None:
    folder = landing / "reference" / entity
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """What the marts say before anybody withdrew, after it, and after it was given again.

    Anna opens at 10, 20 and 30 and clicks at 21; Ben opens at 10 and 20. Both withdraw at 20 at first; Anna gives it
    again from 30 on.
    """
    base = tmp_path_factory.mktemp("consent")
    landing, warehouse = base / "landing", base / "warehouse"
    acts = [(ANNA, 1, 10), (BEN, 1, 10), (ANNA, 1, 20), (BEN, 1, 20), (ANNA, SHOP, 21), (ANNA, 1, 30)]
    lines = [
        line(n, message=who, delivery=DELIVERY, url=url, at=at(minute), visitor=f"00000000-0000-4000-8000-{who:012d}")
        for n, (who, url, minute) in enumerate(acts)
    ]
    logs(landing, "redir1/0x0000000000000000.log", *lines)
    reference(landing, "deliveries", "1.csv", f"delivery_id,label\n{DELIVERY},Spring\n")
    reference(landing, "tracked_urls", "1.csv", f"url_id,delivery_id,url_type\n{SHOP},{DELIVERY},1\n")
    reference(
        landing,
        "messages",
        "1.csv",
        f"message_id,delivery_id,recipient_id,status\n{ANNA},{DELIVERY},{ANNA},1\n{BEN},{DELIVERY},{BEN},1\n",
    )
    found = {}
    build_marts(landing, warehouse)
    found["before"] = look(warehouse)
    header = "recipient_id,purpose,granted_at,withdrawn_at\n"
    withdrawn = "2024-05-01 10:20:00"
    rows = f"{ANNA},open_tracking,,{withdrawn}\n{BEN}, Open_Tracking ,,{withdrawn}\n{BEN},profiling,,2020-01-01\n"
    reference(landing, "consents", "1.csv", header + rows)
    build_marts(landing, warehouse)
    found["withdrawn"] = look(warehouse)
    reference(landing, "consents", "2.csv", header + f"{ANNA},open_tracking,2024-05-01 10:30:00,{withdrawn}\n")
    build_marts(landing, warehouse)
    found["given again"] = look(warehouse)
    grown = tables(warehouse)
    build_marts(landing, warehouse, full_refresh=True)
    assert_same_tables(tables(warehouse), grown)
    return found


def look(warehouse: Path) -> dict[str, object]:
    with connect(warehouse) as connection:
        return {
            "counts": connection.execute(
                "select total_open_count, recipient_open_count, total_click_count from reports.rpt_tracking_indicators"
                f" where delivery_id = {DELIVERY}"
            ).fetchone(),
            "profile": connection.execute(
                "select recipient_id, minute(occurred_at) from reports.profile_tracking where url_id = 1 order by all"
            ).fetchall(),
            "delivery": connection.execute(
                "select recipient_id, minute(occurred_at) from reports.delivery_tracking where url_id = 1 order by all"
            ).fetchall(),
            "nobody": connection.execute(
                "select minute(occurred_at), message_id, recipient_id, visitor_id from core.fct_opens"
                " where is_anonymous order by all"
            ).fetchall(),
        }


def test_opens_are_counted_and_lead_to_nobody(states: dict[str, dict[str, object]]) -> None:
    assert states["before"] == {
        "counts": (5, 2, 1),
        "profile": [(ANNA, 10), (ANNA, 20), (ANNA, 30), (BEN, 10), (BEN, 20)],
        "delivery": [(ANNA, 10), (ANNA, 20), (ANNA, 30), (BEN, 10), (BEN, 20)],
        "nobody": [],
    }
    # The moment of the withdrawal counts as after it. The click stays: it is no open.
    assert states["withdrawn"] == {
        "counts": (5, 2, 1),
        "profile": [(ANNA, 10), (BEN, 10)],
        "delivery": [(ANNA, 10), (BEN, 10)],
        "nobody": [(20, 0, 0, None), (20, 0, 0, None), (30, 0, 0, None)],
    }


def test_consent_given_again_holds_from_then_on(states: dict[str, dict[str, object]]) -> None:
    assert states["given again"] == {
        "counts": (5, 2, 1),
        "profile": [(ANNA, 10), (ANNA, 30), (BEN, 10)],
        "delivery": [(ANNA, 10), (ANNA, 30), (BEN, 10)],
        "nobody": [(20, 0, 0, None), (20, 0, 0, None)],
    }
