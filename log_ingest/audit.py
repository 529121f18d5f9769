"""Whether the landed files are the bytes that were committed: the ledger holds a digest of each.

Belongs here: that comparison. Parquet readers do not check it: DuckDB ignores page checksums.
"""

import hashlib

from log_ingest.errors import StorageError
from log_ingest.landed_places import landed_place
from log_ingest.ledger import Ledger
from log_ingest.storage import Location


def damaged_parts(landed_dir: Location, ledger: Ledger, *, after: int = 0) -> list[tuple[str, str]]:
    """Parts of batches after a batch id that are missing, unreadable or changed: path below landed/, what is wrong."""
    found = []
    place = landed_place(landed_dir)
    for row in ledger.parts(after=after):
        try:
            with place.open(row["path"]) as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            found.append((row["path"], error.strerror or str(error)))
            continue
        except StorageError as error:
            found.append((row["path"], error.problem))
            continue
        if digest != row["digest"]:
            found.append((row["path"], "its bytes are not those that were committed"))
    return found
