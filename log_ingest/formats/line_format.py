"""What a line format is to the intake (log_ingest.take_lines): two SELECTs, and how its lines are told apart.

Belongs here: that contract. Does not: any one format (a module each), or which formats there are (formats.registry).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import duckdb
import numpy as np
import pyarrow as pa

from log_ingest.framing import TERMINATORS, Lines
from log_ingest.sqltext import literal


@dataclass(frozen=True)
class ParseSettings:
    """What reading a line needs beside the line. ingested_at: UTC. zones: server character to IANA zone."""

    ingested_at: datetime
    zones: Mapping[str, str] = field(default_factory=dict)

    @property
    def arrived(self) -> str:
        """ingested_at as a SQL literal."""
        return f"timestamp {literal(self.ingested_at.isoformat(sep=' '))}"


@dataclass(frozen=True)
class UsualLines:
    """Lines that were read without SQL. lines: which, ascending. columns: the landed ones, one value a line, but for
    those that say where a line comes from.
    """

    lines: np.ndarray
    columns: Mapping[str, pa.Array | pa.ChunkedArray]


ReadUsual = Callable[[Lines, ParseSettings, duckdb.DuckDBPyConnection], UsualLines]


class LineFormat(Protocol):
    """One format of lines. `lines` below is the name of a relation (row BIGINT, line VARCHAR, line_number BIGINT,
    byte_offset BIGINT, terminator TINYINT, file_id BIGINT, source_file VARCHAR): whole lines of valid UTF-8 without
    control characters other than tab.

    has_pointers: lines carry pointers of a server (columns server, pointer) that rise by one, so that missing
    lines are provable. Otherwise lines are placed by occurred_at. gives_one_row: no line gives several rows.
    Of a format that gives several, the rows of a line follow one another, and the first holds its text in the column
    `line` (NULL on the others).
    """

    has_pointers: bool
    gives_one_row: bool
    identity: str
    """SQL over the landed columns: the text that makes two lines the same. Content only, never file or place."""

    @property
    def read_usual(self) -> ReadUsual | None:
        """Reads some lines at less cost, and tells the same of them as accepted_sql, which reads the others."""
        ...

    def accepted_sql(self, lines: str, settings: ParseSettings) -> str:
        """The rows that the acceptable lines give, with the landed columns of the source in order. Usually one row a
        line; a line that holds several events gives several.
        """
        ...

    def set_aside_sql(self, lines: str, settings: ParseSettings) -> str:
        """row, disposition (quarantined, not_tracking), reason, detail, server, pointer of each of `lines`, none of
        which gave a row of accepted_sql.
        """
        ...

    def position(self, beginning: bytes) -> tuple[str | None, int | None]:
        """Server and pointer of a line that cannot be text, from its first bytes; None, None where unreadable."""
        ...

    def drift(self, lines: list[bytes]) -> str:
        """Why the first lines of a file show that its format as a whole has changed; empty where they do not."""
        ...


def terminator_sql(code: str = "terminator") -> str:
    """SQL for the text of a line end, from its code in the framed lines."""
    return f"case {code} {' '.join(f'when {n} then {literal(text)}' for n, text in enumerate(TERMINATORS))} end"


_FAR_PAST = datetime(2000, 1, 1)
_CLOCKS_ARE_AHEAD = timedelta(days=1)


def time_flag_sql(settings: ParseSettings, further: str = "") -> str:
    """SQL for time_flag of the column occurred_at; further: more WHEN branches."""
    return (
        f"case when occurred_at < timestamp {literal(str(_FAR_PAST))} then 'far_past'"
        f" when occurred_at > timestamp {literal(str(settings.ingested_at + _CLOCKS_ARE_AHEAD))} then 'far_future'"
        f" {further} end"
    )


def is_unflagged(settings: ParseSettings, first: datetime, last: datetime) -> bool:
    """Whether time_flag is NULL for all times from first to last, where there are no further branches."""
    return first >= _FAR_PAST and last <= settings.ingested_at + _CLOCKS_ARE_AHEAD
