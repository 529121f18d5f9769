"""Tokens that were used, shared by all processes of the receiver: each is good for one line.

Belongs here: remembering them for as long as they could be used again. Does not: which provider has tokens.
"""

import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from .refusal import Refused

_WAIT_SECONDS = 10
_TABLES = """
create table if not exists used (digest blob primary key, forget_at integer not null) without rowid;
create index if not exists used_forget_at on used (forget_at);
"""


class UsedTokens:
    """A small SQLite file of digests. seconds: how long a token is remembered."""

    def __init__(self, path: Path, seconds: int, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._seconds = seconds
        self._clock = clock

    @contextmanager
    def once(self, token: str) -> Iterator[None]:
        """Do something with the token; it is used when that succeeded. Raises Refused, sqlite3.Error.

        The file is locked meanwhile, so that of two equal requests at once one waits for the other.
        """
        now = int(self._clock())
        # One connection a request: none is ever carried over a fork.
        with closing(sqlite3.connect(self._path, timeout=_WAIT_SECONDS, isolation_level=None)) as file:
            file.executescript(_TABLES)
            file.execute("begin immediate")
            try:
                file.execute("delete from used where forget_at < ?", [now])
                file.execute(
                    "insert into used values (?, ?)",
                    [hashlib.sha256(token.encode()).digest(), now + self._seconds],
                )
            except sqlite3.IntegrityError:
                raise Refused("replayed") from None
            yield
            file.execute("commit")
