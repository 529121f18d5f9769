"""How ingest tells that it is moving: a protocol, and the one that says nothing.

Drawing a progress bar does not belong here: that is the command line's.
"""

from typing import Protocol


class Progress(Protocol):
    """Receives progress of one source after the other. Sizes are bytes on disk, lines are framed lines."""

    def start(self, source: str, total_bytes: int, total_files: int) -> None: ...

    def advance(self, source: str, bytes: int, lines: int, files: int) -> None: ...

    def finish(self, source: str) -> None: ...


class NullProgress:
    """Progress for callers that do not look."""

    def start(self, source: str, total_bytes: int, total_files: int) -> None:
        pass

    def advance(self, source: str, bytes: int, lines: int, files: int) -> None:
        pass

    def finish(self, source: str) -> None:
        pass
