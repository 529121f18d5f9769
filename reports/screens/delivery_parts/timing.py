"""Tracking statistics: how soon people reacted, as the Pareto table and the cumulative curve."""

from reports import charts
from reports.controls import choose
from reports.tables import Column, show_heading, show_table
from reports.view import View

ACTIVITIES = ("opens", "clicks", "transactions")
BUCKETS = {"600": "10 minutes", "3600": "1 hour", "10800": "3 hours", "86400": "24 hours"}


def show(view: View, delivery_id: int) -> None:
    language = view.language
    rows = view.rows("delivery/percentiles", delivery_id=delivery_id, human=view.human)
    rows["share"] = rows["percentile"] / 100
    show_table(
        view,
        rows,
        [
            Column("share", language("share_reached"), "rate"),
            *(Column(f"{name}_seconds", language(name), "duration") for name in ACTIVITIES),
        ],
        language("percentiles_caption"),
        export=f"tracking_statistics_{delivery_id}",
    )
    show_heading(language("curve"))
    bucket = choose(view, "step", {code: f"bucket_{code}" for code in BUCKETS}, "bucket", "3600")
    days = int(choose(view, "curve_days", {code: f"days_{code}" for code in ("7", "30", "0")}, "days"))
    curve = view.rows("delivery/curve", delivery_id=delivery_id, bucket=BUCKETS[bucket], human=view.human)
    if days:
        curve = curve[curve["elapsed_hours"] <= 24 * days]
    curve = curve.dropna(subset=["cumulative_share"])
    if curve.empty:
        show_table(view, curve, [], language("curve"))
        return
    curve = curve.assign(rank=curve["activity"].map(ACTIVITIES.index)).sort_values(["rank", "elapsed_hours"])
    curve = curve.assign(series=[language(name) for name in curve["activity"]])
    charts.cumulative(
        language,
        curve,
        "elapsed_hours",
        "cumulative_share",
        "series",
        alt_text=language("curve_alt"),
        labels=(language("hours_since"), language("cumulative_share"), language("kind")),
    )
