"""Verdicts of rules and how people see them: counts, offending rows, severity.

Belongs here: the result of one rule, and one Dagster check result of many. Does not: evaluating rules.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import dagster as dg

from orchestration.text import markdown_table, plain

Severity = Literal["critical", "warning"]
SHOWN_ROWS = 5


@dataclass(frozen=True)
class Verdict:
    """One rule's outcome. offending: rows that break it (of those looked at); sample: a few of them.

    problem: why the rule could not be evaluated at all (a missing column, a wrong type), which is no violated rule.
    """

    rule: str
    passed: bool
    severity: Severity = "critical"
    offending: int = 0
    sample: Sequence[Mapping[str, object]] = field(default_factory=tuple)
    problem: str = ""

    @property
    def outcome(self) -> str:
        if self.passed:
            return "holds"
        return "could not be evaluated" if self.problem else "violated"


def check_result(
    verdicts: Sequence[Verdict],
    *,
    asset_key: dg.AssetKey,
    check_name: str,
    facts: Mapping[str, Any] | None = None,
) -> dg.AssetCheckResult:
    """One Dagster result of many verdicts. ERROR (which blocks) if a critical rule fails, else WARN."""
    failed = [verdict for verdict in verdicts if not verdict.passed]
    is_error = any(verdict.severity == "critical" for verdict in failed)
    table = [
        (verdict.rule, verdict.severity, verdict.outcome, verdict.offending, verdict.problem)
        for verdict in sorted(verdicts, key=lambda verdict: (verdict.passed, verdict.severity))
    ]
    metadata: dict[str, Any] = {
        **(facts or {}),
        "rules": dg.MetadataValue.md(
            markdown_table(("rule", "severity", "outcome", "offending rows", "problem"), table)
        ),
        "rules_evaluated": len(verdicts),
        "rules_failed": len(failed),
    }
    for index, verdict in enumerate((v for v in failed if v.sample), start=1):
        columns = list(verdict.sample[0])
        rows = [[_shown(row.get(column)) for column in columns] for row in verdict.sample[:SHOWN_ROWS]]
        metadata[f"offending_rows_{index}"] = dg.MetadataValue.md(
            f"{markdown_table(('rule',), [[verdict.rule]])}\n\n{markdown_table(columns, rows)}"
        )
    return dg.AssetCheckResult(
        passed=not failed,
        asset_key=asset_key,
        check_name=check_name,
        severity=dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN,
        description=describe(failed) if failed else None,
        metadata=metadata,
    )


def describe(failed: Sequence[Verdict]) -> str:
    """One line that names the first failed rule, critical ones first."""
    first = min(failed, key=lambda verdict: verdict.severity)
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    if first.problem:
        return plain(f"{first.rule}: could not be evaluated, {first.problem}{more}", 300)
    rows = f": {first.offending} rows" if first.offending else ""
    return plain(f"violated: {first.rule}{rows}{more}", 300)


def _shown(value: object) -> str:
    return "" if value is None else str(value)
