"""Finding landing files and reading their decompressed bytes.

Belongs here: which directory entries and objects are taken, their fingerprints, plain / gzip / zstd streams with their
checks. Does not: lines (framing), what was seen before (ledger), requests to a store (object_store).
"""

import gzip
import hashlib
import io
import os
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import zstandard

from log_ingest.errors import IngestError, StorageError, UnreachableFileError, UnreadableFileError
from log_ingest.storage import Location, ObjectUrl

if TYPE_CHECKING:
    from log_ingest.object_store import ObjectInfo, ObjectStore, StoredObject

CHUNK_BYTES = 8 * 1024 * 1024
HEAD_BYTES = 4096
"""Two contents that share this many first bytes are compared by digest; others cannot be the same or grown."""

_ZSTD_PIECE = 2048
"""Bytes that are decompressed before anybody looks at what came of them: a byte can give 32 KiB."""

BOMB_BYTES = 1024 * 1024 * 1024
BOMB_RATIO = 200
"""A compressed file is refused once it has given more than BOMB_BYTES and more than BOMB_RATIO times its size."""


@dataclass(frozen=True)
class Fingerprint:
    """What the directory says of a file. Equal: not opened again. Different: its content decides.

    Of an object: its size and time of writing, and in the place of the inode a number made of its ETag.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


@dataclass(frozen=True)
class LandingFile:
    """A file or object below the landing location. name is its path below that, printable and unique."""

    path: "Path | StoredObject"
    name: str
    fingerprint: Fingerprint

    @property
    def is_compressed(self) -> bool:
        return self.path.suffix.lower() in (".gz", ".zst")


@dataclass(frozen=True)
class Digests:
    """What one reading pass learned: sha256 hex of the whole content and of each asked prefix that it reaches.

    amid_lines: the prefixes that end with no line end.
    """

    size: int
    whole: str
    prefixes: dict[int, str]
    amid_lines: set[int]


def printable_name(path: Path, root: Path) -> str:
    """The path below root as text that any store accepts; bytes that are not UTF-8 appear as backslash escapes."""
    return os.fsencode(path.relative_to(root)).decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class LandingPlace:
    """The landing location of one ingest: a folder, or an open store."""

    root: "Path | ObjectStore"

    @classmethod
    def open(cls, landing: Location) -> "LandingPlace":
        """Raises IngestError where the location as a whole cannot be read."""
        if isinstance(landing, ObjectUrl):
            from log_ingest.object_store import ObjectStore

            try:
                store = ObjectStore(landing)
                store.check()
            except StorageError as error:
                raise IngestError(f"the landing location {error}") from error
            return cls(store)
        if landing.exists() and not landing.is_dir():
            raise IngestError(f"the landing folder {landing} is a file; set MTW_LANDING_DIR to a folder")
        if not landing.is_dir():
            raise IngestError(f"the landing folder {landing} does not exist; create it or set MTW_LANDING_DIR")
        return cls(landing)

    def discover(self, folder: str, suffixes: tuple[str, ...]) -> tuple[list[LandingFile], dict[str, str]]:
        """The files below a folder whose names end in one of the suffixes, by name, and what was refused: by its name,
        a line that says why.
        """
        if isinstance(self.root, Path):
            return discover(self.root, folder, suffixes)
        return _discover_objects(self.root, folder, suffixes)


def _discover_objects(
    store: "ObjectStore", folder: str, suffixes: tuple[str, ...]
) -> tuple[list[LandingFile], dict[str, str]]:
    """Keys are taken literally: dots, doubled slashes and line ends in them mean nothing."""
    from log_ingest.object_store import StoredObject

    found: list[LandingFile] = []
    below = len((store.url / "").prefix)
    try:
        for info in store.list(store.url / folder):
            entry = info.key.rpartition("/")[2]
            # Consoles mark a folder by an empty object whose key ends in a slash.
            is_folder_mark = not entry and info.size == 0
            if entry.lower().endswith(suffixes) and not entry.startswith(".") and not is_folder_mark:
                found.append(LandingFile(StoredObject(store, info), info.key[below:], _fingerprint(info)))
    except StorageError as error:
        return [], {f"{folder}/": f"{error}; the folder was skipped"}
    found.sort(key=lambda file: file.name)
    return found, {}


def _fingerprint(info: "ObjectInfo") -> Fingerprint:
    state = int.from_bytes(hashlib.sha256(info.etag.encode()).digest()[:8]) >> 1
    return Fingerprint(info.size, int(info.modified_at.timestamp() * 1000) * 1_000_000, 0, state)


def discover(root: Path, folder: str, suffixes: tuple[str, ...]) -> tuple[list[LandingFile], dict[str, str]]:
    """The regular files below root/folder whose names end in one of the suffixes, by path, and what was refused: by its
    name, a line that says why.

    Symbolic links are followed only to regular files inside root, and where root/folder is one itself, inside root as
    well; other links, FIFOs, devices and unreadable folders are named there and never opened.
    """
    found: list[LandingFile] = []
    problems: dict[str, str] = {}

    def refuse(name: str, why: str) -> None:
        problems[name] = f"{name}: {why}"

    start = root / folder
    inside = root.resolve()
    try:
        is_folder = stat.S_ISDIR(start.stat().st_mode)
    except OSError as error:
        # Nothing arrives here, which is no problem; a link that leads nowhere is one.
        if isinstance(error, FileNotFoundError) and not any(map(_leads_nowhere, (start, start.parent))):
            return found, problems
        refuse(f"{folder}/", f"{error.strerror}; the folder was skipped")
        return found, problems
    if not is_folder:
        refuse(f"{folder}/", "not a folder; skipped")
        return found, problems
    if not start.resolve().is_relative_to(inside):
        refuse(f"{folder}/", "a link out of the landing folder; the folder was skipped")
        return found, problems

    def refuse_folder(error: OSError) -> None:
        refuse(f"{printable_name(Path(error.filename), root)}/", f"{error.strerror}; the folder was skipped")

    for directory, folders, names in os.walk(start, onerror=refuse_folder):
        folders.sort()
        # os.walk goes past links to folders, and so past what is behind them, without a word.
        for path in (Path(directory) / entry for entry in folders):
            # Path.is_symlink raises where that cannot be told; os.walk names such a folder.
            if os.path.islink(path):  # noqa: PTH114
                refuse(f"{printable_name(path, root)}/", "a link to a folder; skipped")
        for entry in sorted(names):
            path = Path(directory) / entry
            name = printable_name(path, root)
            if not entry.lower().endswith(suffixes) or entry.startswith("."):
                continue
            try:
                status = path.stat()
                if path.is_symlink() and not path.resolve().is_relative_to(inside):
                    refuse(name, "a link out of the landing folder; skipped")
                    continue
            except OSError as error:
                refuse(name, f"{error.strerror}; skipped")
                continue
            if not stat.S_ISREG(status.st_mode):
                refuse(name, "not a regular file; skipped")
                continue
            found.append(
                LandingFile(
                    path,
                    name,
                    Fingerprint(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino),
                )
            )
    found.sort(key=lambda file: file.name)
    return found, problems


def _leads_nowhere(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def read_chunks(file: LandingFile, start: int = 0, chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """The decompressed content from byte `start` on, in chunks of at most chunk_bytes or a little more (of
    zstd, 64 MiB more).

    Raises UnreadableFileError where the file cannot be read whole: truncated, bad checksum, garbage behind the
    last member, or a decompression bomb. A compressed file's error can come as late as its last chunk.
    UnreachableFileError where the store or the system did not give its bytes, whatever they are.
    """
    try:
        with file.path.open("rb") as stream:
            # Names are taken whatever their case.
            suffix = file.path.suffix.lower()
            if suffix == ".gz":
                yield from _skip(_guard(_gzip_chunks(stream, chunk_bytes), file.fingerprint.size), start)
            elif suffix == ".zst":
                yield from _skip(_guard(_zstd_chunks(stream, chunk_bytes), file.fingerprint.size), start)
            else:
                stream.seek(start)
                while chunk := stream.read(chunk_bytes):
                    yield chunk
    except StorageError as error:
        raise UnreachableFileError(f"{file.name}: {error.problem}") from error
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        if (said := said_by_the_system(error)) is not None:
            raise UnreachableFileError(f"{file.name}: {said}; the next run tries again") from error
        raise UnreadableFileError(f"{file.name}: {error}; nothing more of it was taken") from error


def said_by_the_system(error: Exception) -> str | None:
    """Why the system did not give a file's bytes: no right, a disk or a mount that failed, gone. None where the bytes
    themselves are at fault, which is an OSError without a number in places (gzip.BadGzipFile).
    """
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno is not None else None


def digest(file: LandingFile, prefixes: set[int]) -> Digests:
    """One pass over the content: its size, its sha256, and the sha256 of each prefix length asked for."""
    running = hashlib.sha256()
    wanted = sorted(prefixes)
    found: dict[int, str] = {}
    amid_lines: set[int] = set()
    size, last = 0, b"\n"
    for chunk in read_chunks(file):
        while wanted and wanted[0] <= size + len(chunk):
            part = running.copy()
            part.update(memoryview(chunk)[: wanted[0] - size])
            if (chunk[wanted[0] - size - 1 : wanted[0] - size] if wanted[0] > size else last) not in b"\r\n":
                amid_lines.add(wanted[0])
            found[wanted.pop(0)] = part.hexdigest()
        running.update(chunk)
        size, last = size + len(chunk), chunk[-1:] or last
    return Digests(size, running.hexdigest(), found, amid_lines)


def head_digest(file: LandingFile) -> str:
    """sha256 hex of the first HEAD_BYTES of the content (or of all of it, where it is shorter)."""
    head = b""
    for chunk in read_chunks(file, chunk_bytes=HEAD_BYTES):
        head += chunk[: HEAD_BYTES - len(head)]
        if len(head) >= HEAD_BYTES:
            break
    return hashlib.sha256(head).hexdigest()


def _gzip_chunks(file: io.BufferedIOBase, chunk_bytes: int) -> Iterator[bytes]:
    with gzip.open(file, "rb") as stream:  # checks each member's CRC and length, reads them all
        while chunk := stream.read(chunk_bytes):
            yield chunk


def _zstd_chunks(stream: io.BufferedIOBase, chunk_bytes: int) -> Iterator[bytes]:
    # The library's stream reader ends silently in the middle of a frame, so frames are followed here.
    frame, held, size = None, list[bytes](), 0
    while read := stream.read(CHUNK_BYTES // 8):
        for at in range(0, len(read), _ZSTD_PIECE):
            data = read[at : at + _ZSTD_PIECE]
            while data:
                frame = frame or zstandard.ZstdDecompressor().decompressobj()
                chunk = frame.decompress(data)
                held.append(chunk)
                size += len(chunk)
                data = b""
                if frame.eof:
                    data, frame = frame.unused_data, None
            if size >= chunk_bytes:
                yield b"".join(held)
                held, size = [], 0
    if size:
        yield b"".join(held)
    if frame is not None:
        raise EOFError("the zstd file ends in the middle of a frame")


def _guard(chunks: Iterator[bytes], compressed_size: int) -> Iterator[bytes]:
    given = 0
    for chunk in chunks:
        given += len(chunk)
        if given > BOMB_BYTES and given > BOMB_RATIO * compressed_size:
            raise EOFError(f"decompresses to more than {BOMB_RATIO} times its size")
        yield chunk


def _skip(chunks: Iterator[bytes], start: int) -> Iterator[bytes]:
    for chunk in chunks:
        if start >= len(chunk):
            start -= len(chunk)
            continue
        yield chunk[start:] if start else chunk
        start = 0
