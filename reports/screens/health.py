"""Data health: how fresh and how complete what is published is, and whether it held the checks."""

from datetime import UTC, datetime
from typing import Any

from reports.tables import Column, columns, show_cards, show_message, show_table, show_title
from reports.view import View


def show(view: View) -> None:
    language = view.language
    show_title(language("page_health"))
    _publication(view)
    show_table(
        view,
        view.rows("health/sources"),
        columns(
            view,
            *("source", "last_seen_at", "file_count", "line_count", "accepted_count", "duplicate_count"),
            *("quarantined_count", "quarantine_rate", "held_bytes", "problem_file_count"),
            held_bytes="count",
        ),
        language("sources_caption"),
        export="sources",
    )
    show_table(
        view,
        view.rows("health/gaps"),
        columns(
            view,
            *("server", "missing_count", "first_missing_pointer", "last_missing_pointer", "before_at", "after_at"),
        ),
        language("gaps_caption"),
        export="pointer_gaps",
    )
    show_table(
        view,
        view.rows("health/quarantine"),
        columns(view, "source", "reason", "line_count", "file_count", "last_ingested_at"),
        language("quarantine_caption"),
        export="quarantine",
    )
    show_table(
        view,
        view.rows("health/problems"),
        columns(view, "source", "source_file", "problem", "since_at"),
        language("problems_caption"),
        export="problem_files",
    )
    show_table(
        view,
        view.deliveries(view.rows("health/restatements")),
        [
            *columns(view, "restated_at", "version"),
            Column("delivery_label", language.indicator("delivery_label"), page="delivery", page_id="delivery_id"),
            *columns(
                view, "indicator", "old_value", "new_value", "reason", "detail", old_value="amount", new_value="amount"
            ),
        ],
        language("restatements_caption"),
        export="restatements",
    )
    _checks(view)


def _publication(view: View) -> None:
    language = view.language
    found: dict[str, Any] = view.row("publication") or {}

    def ago(moment: Any) -> str:
        if moment is None:
            return ""
        elapsed = datetime.now(UTC).replace(tzinfo=None) - moment
        return language("ago", duration=language.duration(elapsed.total_seconds()))

    show_cards(
        view,
        [
            (
                language("health_version"),
                f"{found.get('version', 0):06d}",
                f"{language('health_run')} {found.get('run_id')}",
            ),
            (language("health_published_at"), language.time(found.get("published_at")), ago(found.get("published_at"))),
            (
                language("health_through"),
                language.time(found.get("data_through_at")),
                ago(found.get("data_through_at")),
            ),
        ],
    )


def _checks(view: View) -> None:
    language = view.language
    if not view.snapshot.has("meta.check_results"):
        show_message(language("checks_absent"))
        return
    rows = view.rows("health/checks")
    passed = int(rows["passed"].sum())
    show_table(
        view,
        rows,
        columns(view, "check_name", "asset", "passed", "severity", "description", passed="yes"),
        language("checks_caption", passed=language.count(passed), failed=language.count(len(rows) - passed)),
        export="checks",
    )
