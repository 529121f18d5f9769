"""All deliveries together: activity, throughput, software, subscriptions, sharing, web paths."""

import pandas as pd

from reports import charts
from reports.controls import choose, choose_part
from reports.screens.activity import show_activity
from reports.tables import Column, columns, show_heading, show_message, show_table, show_title
from reports.view import View


def show(view: View) -> None:
    show_title(view.language("page_platform"))
    parts = {
        "activity": _activity,
        "throughput": _throughput,
        "software": _software,
        "subscriptions": _subscriptions,
        "sharing": _sharing,
        "web": _web,
    }
    part = choose_part(view, list(parts), "platform", "platform_part")
    parts[part](view)


def _days(view: View, default: str) -> int:
    return int(choose(view, "period", {code: f"days_{code}" for code in ("7", "30", "365", "0")}, "period", default))


def _activity(view: View) -> None:
    days = _days(view, "30")
    minutes = int(choose(view, "step", {code: f"step_{code}" for code in ("30", "60", "1440")}, "step", "1440"))
    rows = view.rows("platform/activity", days=days, minutes=minutes, human=view.human)
    show_activity(view, rows, minutes, export="platform_activity")


def _throughput(view: View) -> None:
    language = view.language
    rows = view.rows("platform/throughput", days=_days(view, "30"))
    if not rows.empty:
        long = rows.melt("local_bucket_at", ["success_count", "error_count"], "series", "count")
        long["series"] = long["series"].map(
            {"success_count": language("messages_sent"), "error_count": language("messages_failed")}
        )
        charts.over_time(
            language,
            charts.every_step(long, "local_bucket_at", "series", "count", "h"),
            "local_bucket_at",
            "count",
            "series",
            alt_text=language("throughput_alt"),
            labels=(language("time"), language("number"), language("kind")),
            daily=False,
        )
    show_table(
        view,
        rows.head(200),
        [
            Column("local_bucket_at", language.indicator("local_bucket_at"), "wall_clock"),
            *columns(view, "message_count", "success_count", "error_count", "bits_per_second", bits_per_second="count"),
        ],
        language("throughput_caption"),
        export="throughput",
        export_rows=rows,
    )


def _software(view: View) -> None:
    language = view.language
    kind = choose(view, "software_kind", {code: f"software_{code}" for code in ("browsers", "systems")}, "software")
    days = _days(view, "30")
    if not view.snapshot.has("reports.rpt_browsers.last_visitor_count"):
        show_message(language("software_absent"))
        return
    rows = view.rows("platform/software", kind=kind, days=days, human=view.human)
    is_name = rows["version"].isna()
    show_table(
        view,
        rows[is_name],
        columns(view, "name", "visitor_count", "usage_rate", "page_count", usage_rate="bar"),
        language("software_caption"),
        export=kind,
    )
    _software_daily(view, kind, days)
    versions = rows[~is_name]
    show_table(
        view,
        versions.head(100),
        columns(
            view, "name", "version", "visitor_count", "usage_rate", "version_usage_rate", "page_count", usage_rate="bar"
        ),
        language("software_versions_caption"),
        export=f"{kind}_versions",
        export_rows=versions,
    )


def _software_daily(view: View, kind: str, days: int) -> None:
    language = view.language
    daily = view.rows("platform/software_daily", kind=kind, days=days, human=view.human, top=charts.MAX_SERIES)
    if daily.empty:
        return
    daily["line"] = [
        charts.series_name(int(row["position"]), f"{row['name']} {row['version']}") for row in daily.to_dict("records")
    ]
    charts.over_time(
        language,
        charts.every_step(daily, "clicked_on", "line", "best_day_rate", "D"),
        "clicked_on",
        "best_day_rate",
        "line",
        alt_text=language("software_alt"),
        labels=(language("day"), language.indicator("best_day_rate"), language.indicator("version")),
        daily=True,
        rate=True,
    )


def _subscriptions(view: View) -> None:
    language = view.language
    days = _days(view, "30")
    show_table(
        view,
        view.rows("platform/subscriptions", days=days),
        columns(
            view,
            *("service_label", "start_subscriber_count", "subscription_count", "unsubscription_count"),
            *("evolution", "evolution_rate", "loyalty_rate", "end_subscriber_count"),
            evolution="count",
        ),
        language("subscriptions_period"),
        export="subscriptions",
    )
    daily = view.rows("platform/subscribers_daily", days=days, top=charts.MAX_SERIES)
    if daily.empty:
        return
    daily["line"] = [charts.series_name(int(row["position"]), row["line"] or "") for row in daily.to_dict("records")]
    charts.over_time(
        language,
        daily,
        "occurred_on",
        "end_subscriber_count",
        "line",
        alt_text=language("subscribers_alt"),
        labels=(language("day"), language.indicator("end_subscriber_count"), language.indicator("service_label")),
        daily=True,
    )


def _sharing(view: View) -> None:
    show_table(
        view,
        view.rows("platform/sharing", human=view.human),
        columns(view, "network", "share_count", "share_of_shares", "shared_open_count", share_of_shares="bar"),
        view.language("sharing_caption"),
        export="sharing",
    )


def _web(view: View) -> None:
    language = view.language
    paths: pd.DataFrame = view.rows("platform/web_paths", human=view.human)
    for path_label, steps in paths.groupby("path_label", sort=False):
        show_heading(str(path_label))
        show_table(
            view,
            steps,
            [
                Column("label", language.indicator("position")),
                *columns(view, "path_visitor_count", "delivery_visitor_count", "path_source_visitor_count"),
                *columns(view, "no_source_visitor_count", "lost_visitor_count"),
                *columns(view, "lost_visitor_rate", lost_visitor_rate="bar"),
                *columns(view, "conversion_rate", "bounce_rate"),
            ],
            language("web_paths_caption"),
            export=f"web_path_{steps.index[0]}",
        )
    show_table(
        view,
        view.rows("platform/web_hits", human=view.human),
        columns(view, "outcome", "is_kept", "web_hit_count"),
        language("web_hits_caption"),
        export="web_hits",
    )
