"""Opens projected to what machines hide, in plain numbers: the second computation of the projected indicators."""

from collections.abc import Mapping


def projection(row: Mapping[str, float | None]) -> dict[str, float | None]:
    """The projected indicators of a row that has the counts they rest on.

    The rate of the delivered messages that can be told is applied to those that only machines opened.
    """
    everybody, people, delivered = (
        int(row[name] or 0)
        for name in ("delivered_recipient_open_count", "human_delivered_recipient_open_count", "success_count")
    )
    measurable = delivered - (everybody - people)
    found: dict[str, float | None] = {
        "machine_only_open_count": int(row["recipient_open_count"] or 0) - int(row["human_recipient_open_count"] or 0),
        "projected_recipient_open_count": None,
        "projected_total_open_count": None,
        "projected_open_rate": None,
        "measurable_open_rate": None,
    }
    if measurable:
        for name, count in (("recipient", people), ("total", int(row["human_delivered_total_open_count"] or 0))):
            found[f"projected_{name}_open_count"] = (2 * count * delivered + measurable) // (2 * measurable)
        found["projected_open_rate"] = (found["projected_recipient_open_count"] or 0) / delivered
        found["measurable_open_rate"] = people / measurable
    return found
