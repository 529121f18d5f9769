"""How complete the intake is: lines that no file has delivered, and lines that could not be read, against thresholds.

Belongs here: these two verdicts, over all that was ever taken in. Does not: whether landed rows are sound (landed).
They warn and do not hold up the publication: what has arrived stays worth knowing, and who watches must see the rest.
"""

from typing import Any

from log_ingest.ledger import Ledger
from log_ingest.pointers import Gap, PointerIndex
from orchestration.checks.verdicts import Verdict

SHOWN = 20


def quarantine_verdicts(ledger: Ledger, threshold: float) -> list[Verdict]:
    """Per source: quarantined lines are at most this share of all lines (0 to 1)."""
    verdicts = []
    for row in ledger.totals():
        share = row["quarantined"] / row["lines"] if row["lines"] else 0.0
        worst = sorted(
            (file for file in ledger.files() if file["source"] == row["source"] and file["quarantined"]),
            key=lambda file: -file["quarantined"],
        )
        verdicts.append(
            Verdict(
                f"at most {threshold:.2%} of the lines of {row['source']} are quarantined (now {share:.2%})",
                share <= threshold,
                "warning",
                offending=row["quarantined"],
                sample=[
                    {"file": file["name"], "lines": file["lines"], "quarantined": file["quarantined"]}
                    for file in worst[:SHOWN]
                ],
            )
        )
    return verdicts


def gap_verdicts(ledger: Ledger, threshold: float) -> tuple[list[Verdict], dict[str, Any]]:
    """Per server: missing lines are at most this share (0 to 1) of the lines between its first and its last pointer.

    Also facts for people: how many gaps and missing lines there are.
    """
    verdicts, gaps = [], 0
    missing_lines = 0
    for server in ledger.servers():
        runs = ledger.pointer_runs(server)
        of_server = PointerIndex(runs).gaps(server)
        missing = sum(gap.missing_count for gap in of_server)
        share = missing / (runs[-1].last - runs[0].first + 1)
        gaps, missing_lines = gaps + len(of_server), missing_lines + missing
        verdicts.append(
            Verdict(
                f"at most {threshold:.2%} of the lines of server {server} are missing (now {share:.2%})",
                share <= threshold,
                "warning",
                offending=missing,
                sample=[_shown(gap) for gap in sorted(of_server, key=lambda gap: -gap.missing_count)[:SHOWN]],
            )
        )
    return verdicts, {"gaps": gaps, "missing_lines": missing_lines}


def _shown(gap: Gap) -> dict[str, object]:
    return {
        "server": gap.server,
        "first": f"0x{gap.first_missing_pointer:X}",
        "last": f"0x{gap.last_missing_pointer:X}",
        "lines": gap.missing_count,
        "after": gap.before_at,
        "before": gap.after_at,
    }
