"""Whether the landed files are the bytes that were committed: the ledger holds a digest of each.

Belongs here: that comparison. Parquet readers do not check it: DuckDB ignores page checksums.
"""

import hashlib
from pathlib import Path

from log_ingest.ledger import Ledger


def damaged_parts(landed_dir: Path, ledger: Ledger, *, after: int = 0) -> list[tuple[str, str]]:
    """Parts of batches after a batch id that are missing, unreadable or changed: path below landed/, what is wrong."""
    found = []
    for row in ledger.parts(after=after):
        try:
            with (landed_dir / row["path"]).open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            found.append((row["path"], error.strerror or str(error)))
            continue
        if digest != row["digest"]:
            found.append((row["path"], "its bytes are not those that were committed"))
    return found
