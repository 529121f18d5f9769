"""The faults put into the log files: which, where, and the bytes of the corrupt lines.

Belongs here: what is wrong on purpose. Does not: how files are written (writer).
"""

from dataclasses import dataclass
from typing import Literal

FaultKind = Literal["missing_field", "underscore", "sign", "overflow", "control_character", "gap", "blank"]

GAP_POINTERS = 5
"""Pointers of lines that were never written, in the one gap."""

_CHROME = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_12_4) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/55.0.2883.95 Safari/537.36"
)
_TIME = "2024-04-20T21:00:50.96"
_VISITOR = "e5155671-4ab7-4ce4-a763-3b82dda6d881"


@dataclass(frozen=True)
class Fault:
    """After `after_share` of the lines of the server's file number `file_index` (from 0) comes this fault."""

    file_index: int
    after_share: float
    kind: FaultKind


FAULTS: dict[str, tuple[Fault, ...]] = {
    "5": (
        Fault(1, 0.30, "missing_field"),
        Fault(1, 0.60, "blank"),
        Fault(2, 0.50, "gap"),
        Fault(3, 0.25, "control_character"),
    ),
    "6": (Fault(1, 0.25, "underscore"), Fault(1, 0.55, "sign"), Fault(2, 0.40, "overflow")),
}
"""By server character, in order. File 0 of every server has none: server 5's is the one sent again."""

OVERLAP = ("6", 3, 25)
"""This server's file of this index starts with the last lines (at most so many) of the one before."""


def corrupt_line(kind: FaultKind, server: str, pointer: int) -> bytes:
    """A line that must be quarantined, with its newline; its log id is right and takes the pointer."""
    ids = {
        "underscore": ("1_0", "1aeab4b6", "1"),
        "sign": ("1f506d71", "+1", "1"),
        "overflow": ("1f506d71", "fffffffffffffffff", "1"),
    }.get(kind, ("1f506d71", "1aeab4b6", "1af77020"))
    # The documented example keeps its own time; it misses the field between the kind and the user agent.
    moment = "2017-06-24T21:00:50.96" if kind == "missing_field" else _TIME
    fields = [f"{server}0x{pointer:016X}", moment, *ids, "0", _VISITOR, "h"]
    if kind != "missing_field":
        fields.append("")
    fields += [_CHROME if kind != "control_character" else f"Mozilla/5.0 \x1b[31m{_CHROME}", "52.46.20.64"]
    return "\t".join(fields).encode() + b"\n"
