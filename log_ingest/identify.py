"""Deciding what a landing file is: unchanged, a copy, a known content that grew, or new.

Content decides, never path or inode. Belongs here: that decision. Does not: reading lines.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from log_ingest.files import Fingerprint, LandingFile, digest, head_digest
from log_ingest.ledger import Content, Ledger, PathState

Verdict = Literal["unchanged", "copy", "grown", "new"]


@dataclass(frozen=True)
class Identity:
    """What a file is. content: the known content, or a fresh one for `new`.

    size: bytes of content to read now (what comes later is the next run's), None: to the end. is_amid_line: what is
    known of a grown content ends in the middle of a line, which was sealed too early.
    """

    verdict: Verdict
    content: Content
    size: int | None = None
    is_amid_line: bool = False


def known_state(file: LandingFile, source: str, ledger: Ledger) -> PathState | None:
    """The path's state where the directory entry has not changed since it was last opened, else None."""
    state = ledger.path_state(source, file.name)
    return state if state is not None and state.fingerprint == file.fingerprint else None


def identify(
    file: LandingFile, source: str, ledger: Ledger, pending: Mapping[str, Mapping[int, Content]] | None = None
) -> Identity:
    """Compare a file with what the ledger knows, and with contents of this run that it does not know yet.

    pending: those by head digest and file_id. Raises UnreadableFileError.

    A compressed file is read through once here even if it is new, so that a bad checksum at its end is found
    before anything of it is taken.
    """
    head = head_digest(file)
    uncommitted = (pending or {}).get(head, {})
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
            is_known = _is_origin(previous, content) or content.name == file.name
            return Identity("unchanged" if is_known else "copy", content, seen.size)
    is_from = {content.file_id for content in candidates if _is_origin(previous, content)}
    # Nothing is the beginning of everything: where nothing was taken yet, only the path says what has grown.
    grown = [
        content
        for content in candidates
        if (content.framed_bytes or content.file_id in is_from)
        and seen.prefixes.get(content.framed_bytes) == content.framed_digest
    ]
    if grown:
        best = max(grown, key=lambda content: content.framed_bytes)
        has_shrunk = best.file_id in is_from and previous is not None and previous.fingerprint != file.fingerprint
        if best.framed_bytes == seen.size < best.content_bytes and not has_shrunk:
            # All whole lines of it and nothing else: the line without an end came from another file, and is held there.
            return Identity("copy", best, seen.size)
        # A copy: if the file cannot be read after all, what is known stays as it is.
        known = replace(best, head_digest=head, digest=seen.whole, content_bytes=seen.size)
        return Identity("grown", known, seen.size, best.framed_bytes in seen.amid_lines)
    return Identity("new", fresh, seen.size)


class Siblings:
    """The files of one source as they stand in the landing folder now: what one says of another."""

    def __init__(self, files: Iterable[LandingFile]) -> None:
        self._fingerprints: dict[str, Fingerprint] = {}
        self._newest_pointers: dict[str, int] = {}
        for file in files:
            self._fingerprints[file.name] = file.fingerprint
            folder, pointer = _named_pointer(file.name)
            if pointer is not None:
                self._newest_pointers[folder] = max(pointer, self._newest_pointers.get(folder, 0))

    def has_newer_pointer(self, file: LandingFile) -> bool:
        """True where a file named after a greater pointer stands in the same folder."""
        folder, pointer = _named_pointer(file.name)
        return pointer is not None and self._newest_pointers.get(folder, pointer) > pointer

    def may_hold(self, content: Content, origin: PathState) -> bool:
        """True where the path that the content came from still holds it, or more that may begin with it."""
        now = self._fingerprints.get(origin.name)
        return now is not None and (now == origin.fingerprint or now.size >= content.content_bytes)


def is_sealed(file: LandingFile, siblings: Siblings, state: PathState | None, seal_after: timedelta) -> bool:
    """True where no more bytes can come: compressed, a newer pointer file stands in the same folder, or no change
    was seen since seal_after (by our clock: modification times of copied files say nothing).
    """
    if file.is_compressed or siblings.has_newer_pointer(file):
        return True
    changed_at = state.changed_at if state is not None else None
    return changed_at is not None and datetime.now(UTC) - changed_at > seal_after


def _is_origin(state: PathState | None, content: Content) -> bool:
    return state is not None and state.role == "origin" and state.file_id == content.file_id


def _named_pointer(name: str) -> tuple[str, int | None]:
    folder, _, base = name.rpartition("/")
    stem = base.split(".", 1)[0].lower()
    try:
        return folder, int(stem[2:], 16) if stem.startswith("0x") else None
    except ValueError:
        return folder, None
