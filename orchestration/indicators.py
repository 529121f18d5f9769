"""The main indicators of one delivery, read from the published database, for people who look for the first time."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import duckdb

INDICATORS = (
    *("to_deliver_count", "success_count", "error_count", "recipient_open_count", "total_open_count"),
    *("estimated_recipient_open_count", "projected_recipient_open_count", "recipient_click_count"),
    *("person_click_count", "total_click_count", "opt_out_click_count", "mirror_page_click_count"),
    *("forward_estimate", "raw_reactivity", "estimated_reactivity"),
)


@dataclass(frozen=True)
class DeliveryIndicators:
    """rows: (indicator, all, human); human is None where machines cannot inflate it. Rates are 0 to 1."""

    delivery_id: int
    title: str
    rows: list[tuple[str, object, object]]


def one_delivery(database: Path) -> DeliveryIndicators | None:
    """The delivery with the most clicks, or None where the version holds no delivery."""
    with contextlib.closing(duckdb.connect(str(database.resolve()), read_only=True)) as connection:
        found = connection.execute(
            "select * from reports.rpt_tracking_indicators order by total_click_count desc, delivery_id limit 1"
        )
        names = [column[0] for column in found.description or ()]
        row = found.fetchone()
    if row is None:
        return None
    values = dict(zip(names, row, strict=True))
    rows = [(name, values[name], values.get(f"human_{name}")) for name in INDICATORS if name in values]
    title = f"Delivery {values['delivery_id']}: {values.get('delivery_label') or 'no label'}"
    return DeliveryIndicators(values["delivery_id"], title, rows)
