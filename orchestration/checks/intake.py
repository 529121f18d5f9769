"""How complete the intake is: lines that no file has delivered, and lines that could not be read, against thresholds.

Belongs here: these two verdicts, over all that was ever taken in. Does not: whether landed rows are sound (landed).
They warn and do not hold up the publication: what has arrived stays worth knowing, and who watches must see the rest.
"""

from typing import Any

from log_ingest.ledger import Ledger
from log_ingest.pointers import Gap
from orchestration.checks.verdicts import Verdict

SHOWN = 20


def quarantine_verdicts(ledger: Ledger, threshold: float) -> list[Verdict]:
    """Per source: quarantined lines are at most this share of all lines (0 to 1)."""
    worst: dict[str, list[dict[str, object]]] = {}
    for file in sorted(ledger.files(), key=lambda file: -file["quarantined"]):
        shown = worst.setdefault(file["source"], [])
        if file["quarantined"] and len(shown) < SHOWN:
            shown.append({"file": file["name"], "lines": file["lines"], "quarantined": file["quarantined"]})
    verdicts = []
    for row in ledger.totals():
        share = row["quarantined"] / row["lines"] if row["lines"] else 0.0
        verdicts.append(
            Verdict(
                f"at most {threshold:.2%} of the lines of {row['source']} are quarantined (now {share:.2%})",
                share <= threshold,
                "warning",
                offending=row["quarantined"],
                sample=worst[row["source"]],
            )
        )
    return verdicts


def gap_verdicts(ledger: Ledger, threshold: float) -> tuple[list[Verdict], dict[str, Any]]:
    """Per server: missing lines are at most this share (0 to 1) of the lines between its first and its last pointer.

    Also facts for people: how many gaps and missing lines there are.
    """
    gaps = ledger.gaps()
    verdicts = []
    for server in ledger.servers():
        runs = ledger.pointer_runs(server)
        of_server = [gap for gap in gaps if gap.server == server]
        missing = sum(gap.missing_count for gap in of_server)
        share = missing / (runs[-1].last - runs[0].first + 1)
        verdicts.append(
            Verdict(
                f"at most {threshold:.2%} of the lines of server {server} are missing (now {share:.2%})",
                share <= threshold,
                "warning",
                offending=missing,
                sample=[_shown(gap) for gap in sorted(of_server, key=lambda gap: -gap.missing_count)[:SHOWN]],
            )
        )
    return verdicts, {"gaps": len(gaps), "missing_lines": sum(gap.missing_count for gap in gaps)}


def _shown(gap: Gap) -> dict[str, object]:
    return {
        "server": gap.server,
        "first": f"0x{gap.first_missing_pointer:X}",
        "last": f"0x{gap.last_missing_pointer:X}",
        "lines": gap.missing_count,
        "after": gap.before_at,
        "before": gap.after_at,
    }
