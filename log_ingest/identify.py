"""Deciding what a landing file is: unchanged, a copy, a known content that grew, or new.

Content decides, never path or inode. Belongs here: that decision. Does not: reading lines.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from log_ingest.files import LandingFile, digest, head_digest
from log_ingest.ledger import Content, Ledger, PathState

Verdict = Literal["unchanged", "copy", "grown", "new"]


@dataclass(frozen=True)
class Identity:
    """What a file is. content: the known content, or a fresh one for `new`.

    size: bytes of content to read now (what comes later is the next run's), None: to the end.
    """

    verdict: Verdict
    content: Content
    size: int | None = None


def known_state(file: LandingFile, source: str, ledger: Ledger) -> PathState | None:
    """The path's state where the directory entry has not changed since it was last opened, else None."""
    state = ledger.path_state(source, file.name)
    return state if state is not None and state.fingerprint == file.fingerprint else None


def identify(file: LandingFile, source: str, ledger: Ledger, pending: Iterable[Content] = ()) -> Identity:
    """Compare a file with what the ledger knows, and with contents of this run that it does not know yet.

    Raises UnreadableFileError.

    A compressed file is read through once here even if it is new, so that a bad checksum at its end is found
    before anything of it is taken.
    """
    head = head_digest(file)
    uncommitted = {content.file_id: content for content in pending if content.head_digest == head}
    candidates = list(uncommitted.values())
    candidates += [
        content for content in ledger.contents_like(source, head, file.name) if content.file_id not in uncommitted
    ]
    fresh = Content(source, file.name, head)
    if not candidates and not file.is_compressed:
        return Identity("new", fresh, file.fingerprint.size)
    seen = digest(file, {content.framed_bytes for content in candidates})
    fresh.digest, fresh.content_bytes = seen.whole, seen.size
    previous = ledger.path_state(source, file.name)
    for content in candidates:
        if content.digest == seen.whole and content.content_bytes == seen.size:
            is_origin = previous is not None and previous.role == "origin" and previous.file_id == content.file_id
            return Identity("unchanged" if is_origin or content.name == file.name else "copy", content, seen.size)
    grown = [
        content
        for content in candidates
        if content.framed_bytes and seen.prefixes.get(content.framed_bytes) == content.framed_digest
    ]
    if grown:
        best = max(grown, key=lambda content: content.framed_bytes)
        # A copy: if the file cannot be read after all, what is known stays as it is.
        known = replace(best, head_digest=head, digest=seen.whole, content_bytes=seen.size)
        return Identity("grown", known, seen.size)
    return Identity("new", fresh, seen.size)


def newest_pointers(files: Iterable[LandingFile]) -> dict[str, int]:
    """Per folder, the greatest pointer that a log file there is named after."""
    newest: dict[str, int] = {}
    for file in files:
        folder, pointer = _named_pointer(file.name)
        if pointer is not None:
            newest[folder] = max(pointer, newest.get(folder, 0))
    return newest


def is_sealed(file: LandingFile, newest: Mapping[str, int], state: PathState | None, seal_after: timedelta) -> bool:
    """True where no more bytes can come: compressed, a newer pointer file stands in the same folder, or no change
    was seen since seal_after (by our clock: modification times of copied files say nothing).
    """
    if file.is_compressed:
        return True
    folder, pointer = _named_pointer(file.name)
    if pointer is not None and newest.get(folder, pointer) > pointer:
        return True
    changed_at = state.changed_at if state is not None else None
    return changed_at is not None and datetime.now(UTC) - changed_at > seal_after


def _named_pointer(name: str) -> tuple[str, int | None]:
    folder, _, base = name.rpartition("/")
    stem = base.split(".", 1)[0].lower()
    try:
        return folder, int(stem[2:], 16) if stem.startswith("0x") else None
    except ValueError:
        return folder, None
