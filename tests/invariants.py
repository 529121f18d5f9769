"""The invariants that hold after every ingest, whatever was fed to it. Each raises AssertionError with the file."""

import hashlib
from collections import defaultdict
from pathlib import Path

import duckdb

from log_ingest.formats.trackinglogd import Trackinglogd
from log_ingest.ingest import LEDGER_NAME, ingest
from log_ingest.ledger import Ledger

FIELDS = (
    "log_id, logged_at_text, message_id_text, delivery_id_text, url_id_text, forced_delivery_id, visitor_id,"
    " content_kind, params, user_agent, ip, forwarded_for, extra"
)


def landed(warehouse: Path, source: str) -> str:
    return f"read_parquet('{warehouse}/landed/{source}/*/*.parquet')"


def assert_accounted(warehouse: Path) -> None:
    """Invariants 1 and 2: every line has one disposition, and the stored bytes of a log reproduce its digest."""
    with Ledger(warehouse / LEDGER_NAME, read_only=True) as ledger:
        contents = ledger.contents()
    # A reference extract may say again what an older one said; a log never does.
    digests = [content.digest for content in contents if content.source == "tracking_logs"]
    assert len(set(digests)) == len(digests), "one content is stored twice"
    stored = _stored_lines(warehouse)
    for content in contents:
        tally = content.tally
        parts = tally.accepted + tally.duplicate + tally.quarantined + tally.blank
        assert parts == tally.lines, content
        assert content.framed_bytes + content.held_bytes == content.content_bytes, content
        if content.source != "tracking_logs":
            continue
        offset, digest = 0, hashlib.sha256()
        for start, line in sorted(stored.pop(content.file_id, [])):
            assert start == offset, f"{content.name}: bytes {offset} to {start} are stored nowhere or twice"
            digest.update(line)
            offset += len(line)
        assert offset == content.framed_bytes, content
        assert digest.hexdigest() == content.framed_digest, content
    assert not stored, "rows of files that the ledger does not know"


def _stored_lines(warehouse: Path) -> dict[int, list[tuple[int, bytes]]]:
    con = duckdb.connect()
    found: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
    rows = con.execute(
        f"select file_id, byte_offset, concat_ws(chr(9), {FIELDS}), terminator"
        f" from {landed(warehouse, 'tracking_logs')}"
    ).fetchall()
    for file_id, offset, line, terminator in rows:
        found[file_id].append((offset, line.encode() + terminator.encode()))
    rows = con.execute(
        f"select file_id, byte_offset, raw, terminator from {landed(warehouse, 'set_aside')}"
        " where source = 'tracking_logs'"
    ).fetchall()
    for file_id, offset, raw, terminator in rows:
        found[file_id].append((offset, raw + terminator.encode()))
    return found


def assert_rerun_changes_nothing(landing: Path, warehouse: Path) -> None:
    """Invariant 3, for landed data."""
    before = _file_digests(warehouse)
    report = ingest(landing, warehouse, run_id="again")
    assert not report.has_new, report
    assert _file_digests(warehouse) == before


def _file_digests(warehouse: Path) -> dict[str, str]:
    return {
        str(path.relative_to(warehouse)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((warehouse / "landed").rglob("*.parquet"))
    }


def events(warehouse: Path) -> list[tuple]:
    """Invariant 4: what a line says, whatever file it came in. Sorted."""
    return (
        duckdb.connect()
        .execute(
            f"select {Trackinglogd.identity}, server, pointer, occurred_at, message_id, delivery_id, url_id,"
            f" visitor_id, ip from {landed(warehouse, 'tracking_logs')} order by all"
        )
        .fetchall()
    )
