"""How much memory DuckDB may take in a process that holds some of its own.

Belongs here: reading and lowering a limit. Does not: what the limit is (settings).
"""

import os
import re
from pathlib import Path

_BYTES = {"K": 1, "M": 2, "G": 3, "T": 4}


def bytes_of(limit: str) -> int:
    """A limit as DuckDB spells it, such as 3GB or 800 MiB, in bytes. Raises ValueError for what is none."""
    found = re.fullmatch(r"([0-9.]+) ?([KMGT])(i?)B", limit, re.IGNORECASE)
    if not found:
        raise ValueError(f"{limit!r} is no limit of memory")
    number, letter, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** _BYTES[letter.upper()])


def left_of(limit: str) -> str:
    """What of a limit is left next to what this process holds, and at least half of it; as DuckDB spells it.

    Python and what ran before a step are not DuckDB's, so that its own limit alone would be exceeded by them.
    """
    whole = bytes_of(limit)
    return f"{max(whole - _held(), whole // 2) // 1000}KB"


def _held() -> int:
    """Bytes of this process in memory; 0 where the system does not say so in Linux' way."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
