"""The invariants that hold after every ingest, whatever was fed to it. Each raises AssertionError with the file.

`at` is where the landed rows are, `ledger_at` where the ledger is, None: in the warehouse folder.
"""

import hashlib
from collections import defaultdict
from pathlib import Path

import duckdb

from log_ingest.formats.registry import LINE_FORMATS
from log_ingest.formats.trackinglogd import Trackinglogd
from log_ingest.ingest import LEDGER_NAME, ingest
from log_ingest.ledger import Ledger
from log_ingest.ledger_database import LedgerPlace
from log_ingest.object_store import ObjectStore
from log_ingest.storage import Location, ObjectUrl, let_read

EMPTY = f"/batch_id={2**63 - 1}/"
"""In the path of the file that each source has before it has rows."""

FIELDS = (
    "coalesce(log_id, server || '0x' || format('{:016X}', pointer)),"
    " coalesce(logged_at_text, strftime(occurred_at, '%Y-%m-%dT%H:%M:%S.')"
    " || lpad((epoch_ms(occurred_at) % 1000)::varchar, 3, '0')),"
    " coalesce(message_id_text, format('{:x}', message_id)), coalesce(delivery_id_text, format('{:x}', delivery_id)),"
    " coalesce(url_id_text, format('{:x}', url_id)), forced_delivery_id, visitor_id,"
    " content_kind, params, user_agent, ip, forwarded_for, extra"
)


def landed(warehouse: Path, source: str, at: Location | None = None) -> str:
    return f"read_parquet('{at or warehouse / 'landed'}/{source}/*/*.parquet')"


def query(sql: str, at: Location | None = None) -> list[tuple]:
    with duckdb.connect() as con:
        if at:
            let_read(con, at)
        return con.execute(sql).fetchall()


def assert_accounted(warehouse: Path, at: Location | None = None, ledger_at: LedgerPlace | None = None) -> None:
    """Invariants 1 and 2: every line has one disposition, and the stored bytes of a log reproduce its digest."""
    with Ledger(ledger_at or warehouse / LEDGER_NAME, read_only=True) as ledger:
        contents = ledger.contents()
        parts = {part["path"]: part["digest"] for part in ledger.parts()}
        erased = ledger.erased_lines()
    found = _file_digests(warehouse, at)
    kept = {path: digest for path, digest in found.items() if "/" in path and EMPTY not in path}
    assert kept == parts, "landed files are not those of the ledger"
    # A reference extract may say again what an older one said; a log never does.
    digests = [(content.source, content.digest) for content in contents if content.source in LINE_FORMATS]
    assert len(set(digests)) == len(digests), "one content is stored twice"
    stored = _stored_lines(warehouse, at)
    for content in contents:
        tally = content.tally
        parts = tally.accepted + tally.duplicate + tally.quarantined + tally.blank + tally.not_tracking
        assert parts + tally.suppressed == tally.lines, content
        assert erased.get(content.file_id, 0) >= tally.suppressed * (content.source in LINE_FORMATS), content
        assert content.framed_bytes + content.held_bytes == content.content_bytes, content
        if content.source not in LINE_FORMATS:
            continue
        if content.file_id in erased:
            stored.pop(content.file_id, [])  # not all bytes are kept, on purpose
            continue
        offset, digest = 0, hashlib.sha256()
        for start, line in sorted(stored.pop(content.file_id, [])):
            assert start == offset, f"{content.name}: bytes {offset} to {start} are stored nowhere or twice"
            digest.update(line)
            offset += len(line)
        assert offset == content.framed_bytes, content
        assert digest.hexdigest() == content.framed_digest, content
    assert not stored, "rows of files that the ledger does not know"


def _stored_lines(warehouse: Path, at: Location | None) -> dict[int, list[tuple[int, bytes]]]:
    found: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
    for source in LINE_FORMATS:
        # A line that gives several rows stands on the first of them.
        text = f"concat_ws(chr(9), {FIELDS})" if source == "tracking_logs" else "line"
        rows = query(
            f"select file_id, byte_offset, {text} as text, terminator from {landed(warehouse, source, at)}"
            " where text is not null",
            at,
        )
        for file_id, offset, line, terminator in rows:
            found[file_id].append((offset, line.encode() + terminator.encode()))
    rows = query(
        f"select file_id, byte_offset, raw, terminator from {landed(warehouse, 'set_aside', at)}"
        f" where source in ({', '.join(repr(source) for source in LINE_FORMATS)})",
        at,
    )
    for file_id, offset, raw, terminator in rows:
        found[file_id].append((offset, raw + terminator.encode()))
    return found


def assert_rerun_changes_nothing(
    landing: Location, warehouse: Path, at: Location | None = None, ledger_at: LedgerPlace | None = None
) -> None:
    """Invariant 3, for landed data."""
    before = _file_digests(warehouse, at)
    report = ingest(landing, warehouse, run_id="again", landed_dir=at, ledger_at=ledger_at)
    assert not report.has_new, report
    assert _file_digests(warehouse, at) == before


def _file_digests(warehouse: Path, at: Location | None) -> dict[str, str]:
    """sha256 of every landed Parquet file, by its path in the ledger."""
    if isinstance(at, ObjectUrl):
        store, below = ObjectStore(at), len((at / "").prefix)
        return {
            info.key[below:]: hashlib.sha256(store.get(info, 0).read()).hexdigest()
            for info in store.list(at)
            if info.key.endswith(".parquet")
        }
    root = at or warehouse / "landed"
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*.parquet"))
    }


def events(warehouse: Path, at: Location | None = None) -> list[tuple]:
    """Invariant 4: what a line says, whatever file it came in. Sorted."""
    return query(
        f"select {Trackinglogd.identity}, server, pointer, occurred_at, message_id, delivery_id, url_id,"
        f" visitor_id, ip from {landed(warehouse, 'tracking_logs', at)} order by all",
        at,
    )
