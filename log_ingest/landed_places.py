"""The two kinds of places that landed Parquet is kept in, and how a file gets there so that it is there whole.

Belongs here: rename and fsync below a folder, puts below a prefix, leftovers, and whose place it is. Does not: the
layout and the order of a commit (landing), what was decided (ledger).

A folder takes a batch by one rename. An object store has no rename: a batch is put object by object under its final
keys. In both, only the ledger's row makes it exist, readers stop at the newest batch of batches.parquet, and what a
dead run left is removed before the next batch is written.
"""

import contextlib
import hashlib
import io
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from uuid import uuid4

from log_ingest.catalog import EMPTY_BATCH, FROZEN, LANDED_SCHEMAS
from log_ingest.errors import IngestError
from log_ingest.ledger import Ledger
from log_ingest.storage import GLOB_CHARACTERS, Location, ObjectUrl

if TYPE_CHECKING:
    import duckdb

    from log_ingest.object_store import ObjectStore

OWNER_FILE = "owner.txt"
OWNER_FACT = "landed_owner"
_WORKER = "worker-"
_BATCH = re.compile(f"(?:{'|'.join((*LANDED_SCHEMAS, FROZEN))})/batch_id=([0-9]+)/.+", re.DOTALL)


class LandedPlace(Protocol):
    """Where landed Parquet is kept. Paths are those of the ledger, such as messages/batch_id=3/part-0.parquet."""

    @property
    def root(self) -> Location: ...

    @property
    def temp(self) -> Path:
        """A local folder where files are written first; what is in it was never committed."""

    def attach_to(self, connection: "duckdb.DuckDBPyConnection") -> None:
        """Let a DuckDB connection read what is here."""

    def has(self, path: str) -> bool: ...

    def open(self, path: str) -> io.BufferedIOBase:
        """One file, from its beginning. Raises OSError or StorageError."""

    def take(self, draft: Path, path: str) -> None:
        """Move a written file from temp to path, in place of an older one: readers see either."""

    def take_batch(self, folder: Path, target: str) -> None:
        """Move the files of a folder in temp below target."""

    def batch_paths(self) -> Iterator[str]:
        """The paths of all files of batches, committed or not; the empty ones of batch 0 are left out."""

    def remove(self, path: str) -> None: ...


def landed_place(landed: Location, warehouse_dir: Path | None = None) -> LandedPlace:
    """The place of a location. warehouse_dir: may be left out by who only reads. Raises IngestError where its name
    cannot be used.
    """
    if any(character in str(landed) for character in GLOB_CHARACTERS):
        raise IngestError(f"{landed}: a landed location may not contain any of {GLOB_CHARACTERS}; move it")
    if isinstance(landed, ObjectUrl):
        from log_ingest.object_store import ObjectStore

        return ObjectPlace(ObjectStore(landed), (warehouse_dir or Path()) / "work" / "landing")
    return FolderPlace(landed)


def claim(place: LandedPlace, ledger: Ledger) -> None:
    """Make sure that the place is this ledger's, before anything in it is removed or added.

    A ledger and a place that do not belong together would lose data: the one would take what the other landed for
    leftovers. Raises IngestError then.
    """
    mark = ""
    if place.has(OWNER_FILE):
        with place.open(OWNER_FILE) as stream:
            mark = stream.read(1000).decode("utf-8", "replace").strip()
    own = ledger.fact(OWNER_FACT)
    if mark and mark == own:
        return
    if mark:
        raise IngestError(
            f"{place.root} belongs to another warehouse than {ledger.place}; set MTW_LANDED_DIR to a place of its own,"
            " or bring back the ledger that goes with it"
        )
    newest = ledger.parts()[-1:]
    if newest and not place.has(newest[0]["path"]):
        raise IngestError(
            f"{place.root} does not hold the batches of {ledger.place}; copy the landed files there, or set"
            " MTW_LANDED_DIR back to where they are"
        )
    if not newest and next(place.batch_paths(), None) is not None:
        raise IngestError(
            f"{place.root} holds batches that {ledger.place} does not know; set MTW_LANDED_DIR to an empty place, or"
            " bring back the ledger that goes with it"
        )
    own = own or uuid4().hex
    ledger.set_fact(OWNER_FACT, own)
    temp = temp_of(place, ledger)
    temp.mkdir(parents=True, exist_ok=True)
    draft = temp / uuid4().hex
    draft.write_text(f"{own}\n")
    place.take(draft, OWNER_FILE)


def temp_of(place: LandedPlace, ledger: Ledger) -> Path:
    """Where this process writes files first: a folder of its own where others may be at work."""
    return place.temp / f"{_WORKER}{ledger.worker_id}" if ledger.is_shared else place.temp


def clear(place: LandedPlace, ledger: Ledger) -> None:
    """Remove temp files, and what a run that died next to its ledger row left."""
    clear_temp(place, ledger)
    sweep(place, ledger)


def clear_temp(place: LandedPlace, ledger: Ledger) -> None:
    """Remove temp files; in a shared ledger those of processes that have ended."""
    alive = {f"{_WORKER}{number}" for number in ledger.workers()}
    if not alive:
        shutil.rmtree(place.temp, ignore_errors=True)
        return
    for path in place.temp.iterdir() if place.temp.is_dir() else ():
        if path.is_dir() and path.name not in alive:
            shutil.rmtree(path, ignore_errors=True)
        elif not path.is_dir():
            path.unlink(missing_ok=True)


def sweep(place: LandedPlace, ledger: Ledger) -> None:
    """Remove files of batches that do not exist, files that took the place of others or gave it up, and puts that were
    still on their way. In a shared ledger: while nobody else is committing.
    """
    for path in unknown_files(place, ledger):
        place.remove(path)


def unknown_files(place: LandedPlace, ledger: Ledger) -> list[str]:
    """Files below the batches that the ledger has no part for: readers that look for files would read them, too."""
    known = {part["path"] for part in ledger.parts()}
    return [path for path in place.batch_paths() if path not in known]


class FolderPlace:
    """Below a local folder; temp is on the same file system, so that a rename suffices."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.temp = root / ".temp"

    def attach_to(self, connection: "duckdb.DuckDBPyConnection") -> None:
        pass

    def has(self, path: str) -> bool:
        return (self.root / path).exists()

    def open(self, path: str) -> io.BufferedIOBase:
        return (self.root / path).open("rb")

    def take(self, draft: Path, path: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        fsync(draft)
        draft.rename(target)
        fsync(target.parent)

    def take_batch(self, folder: Path, target: str) -> None:
        (self.root / target).parent.mkdir(exist_ok=True)
        folder.rename(self.root / target)
        fsync((self.root / target).parent)

    def batch_paths(self) -> Iterator[str]:
        for source in (*LANDED_SCHEMAS, FROZEN):
            for path in (self.root / source).glob("batch_id=*/*"):
                if path.parent.name != f"batch_id={EMPTY_BATCH}":
                    yield str(path.relative_to(self.root))

    def remove(self, path: str) -> None:
        target = self.root / path
        if target.is_dir():
            shutil.rmtree(target)
        target.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # the last file of its batch takes the folder along
            target.parent.rmdir()


class ObjectPlace:
    """Below a prefix of a bucket."""

    def __init__(self, store: "ObjectStore", temp: Path) -> None:
        self.root = store.url
        self.temp = temp
        self._store = store

    def attach_to(self, connection: "duckdb.DuckDBPyConnection") -> None:
        self._store.attach_to(connection)

    def has(self, path: str) -> bool:
        key = self._key(path)
        return key in self._store.known or self._store.head(key) is not None

    def open(self, path: str) -> io.BufferedIOBase:
        return self._store.open(self._key(path))

    def take(self, draft: Path, path: str) -> None:
        self._store.put(draft, self._key(path))
        draft.unlink()

    def take_batch(self, folder: Path, target: str) -> None:
        for file in sorted(folder.iterdir()):
            self._store.put(file, self._key(f"{target}/{file.name}"))

    def batch_paths(self) -> Iterator[str]:
        below = len(self._key(""))
        for info in self._store.list(self.root):
            found = _BATCH.fullmatch(path := info.key[below:])
            if found and int(found[1]) != EMPTY_BATCH:
                yield path

    def remove(self, path: str) -> None:
        self._store.delete(self._key(path))

    def _key(self, path: str) -> str:
        return (self.root / path).prefix


def fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def digest(path: Path) -> str:
    """What the ledger knows of a part's bytes: SHA-256, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
