"""Names of time zones. Belongs here: which ones can be used. Does not: converting anything."""

import contextlib
import functools
from zoneinfo import ZoneInfo


@functools.cache
def is_zone(name: str) -> bool:
    """Whether both know the zone: Python, which shows times in it, and DuckDB, which converts to it. Names of files of
    this machine, as localtime and posix/Europe/Paris, are known to Python alone."""
    try:
        ZoneInfo(name)
    except Exception:  # several types for hostile names
        return False
    if name == "UTC":
        return True
    import duckdb  # takes a while, and most settings do without

    with contextlib.closing(duckdb.connect()) as connection:
        try:
            connection.execute("select timezone(?, timestamp '2024-07-01 12:00:00')", [name]).fetchall()
        except duckdb.Error:
            return False
    return True
