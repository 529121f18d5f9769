"""Time in the sample: milliseconds since 1970 in UTC, and the one way each format writes it.

Belongs here: time constants and conversions. Does not: when anything happens.
"""

from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

SECOND_MS = 1_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
START_MS = int(datetime(2024, 4, 8, tzinfo=UTC).timestamp()) * SECOND_MS
"""The sample's first midnight; every other time is relative to it."""


def text_of(moment_ms: int) -> str:
    """`2024-04-08 07:12:00`; milliseconds are cut."""
    return datetime.fromtimestamp(moment_ms // SECOND_MS, UTC).strftime("%Y-%m-%d %H:%M:%S")


def day_of(moment_ms: int) -> str:
    """`20240408`, as used in file names."""
    return datetime.fromtimestamp(moment_ms // SECOND_MS, UTC).strftime("%Y%m%d")


def texts_of(moments_ms: npt.NDArray[np.int64]) -> pa.Array:
    """The same as text_of for an array of any length, as an Arrow string array."""
    seconds = pa.array((moments_ms // SECOND_MS).astype("datetime64[s]"))
    return seconds.cast(pa.string())
