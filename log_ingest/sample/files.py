"""Files of the sample as they are written: compressed as their name says, equal bytes and times for equal content.

Belongs here: compression and modification times. Does not: what a file holds (writer, site_log, esp_feed).
"""

import gzip
import io
import os
from pathlib import Path
from typing import BinaryIO

import zstandard


class OpenFile:
    """A file being written, compressed as its name says, with its modification time set on closing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._raw = path.open("wb")
        self._sink: BinaryIO | io.BufferedIOBase | zstandard.ZstdCompressionWriter = self._raw
        if path.suffix == ".gz":
            self._sink = gzip_writer(self._raw)
        elif path.suffix == ".zst":
            self._sink = zstandard.ZstdCompressor(level=1).stream_writer(self._raw, closefd=False)

    def write(self, data: bytes | memoryview) -> None:
        self._sink.write(data)

    def close(self, modified: int) -> int:
        """Returns the size on disk in bytes; `modified` is in seconds since 1970."""
        if self._sink is not self._raw:
            self._sink.close()
        self._raw.close()
        os.utime(self._path, (modified, modified))
        return self._path.stat().st_size


def gzip_writer(raw: BinaryIO) -> gzip.GzipFile:
    """A gzip stream without name and time in its header."""
    return gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=raw, mtime=0)
