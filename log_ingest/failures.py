"""What a failed ingest says: whatever machine, disk or store lacked becomes one line that says what to do.

Belongs here: that translation, for whoever takes in files. Does not: the errors themselves (errors).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from log_ingest.errors import IngestError, StorageError
from log_ingest.storage import reason


@contextmanager
def told_in_one_line(warehouse_dir: Path) -> Iterator[None]:
    """Raises IngestError for errors of DuckDB, stores, memory and files. warehouse_dir: where no file is named."""
    try:
        yield
    except duckdb.Error as error:
        raise IngestError(f"ingest failed: {reason(error)}") from error
    except StorageError as error:
        raise IngestError(f"ingest failed: {error}") from error
    except MemoryError as error:
        raise IngestError("ingest ran out of memory; give it more, then run again: nothing is lost") from error
    except OSError as error:
        where = error.filename or warehouse_dir
        raise IngestError(
            f"{where}: {error.strerror or error}; free space or mend permissions, then run again"
        ) from error
