"""Where landing files and landed Parquet may lie: a local folder, or the keys below a prefix of a bucket (s3://…).

Belongs here: telling the two apart, and letting DuckDB read either. Does not: requests to a store (object_store),
the layout of the landed folder (landing).
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from log_ingest.errors import StorageError
from log_ingest.sqltext import literal

if TYPE_CHECKING:
    import duckdb

GLOB_CHARACTERS = "*?[]{}"
"""DuckDB reads these as patterns, and dbt the braces: a landed location may hold none of them."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


@dataclass(frozen=True)
class ObjectUrl:
    """A place in an object store. prefix is taken literally, and ends without a slash: keys are prefix/name."""

    bucket: str
    prefix: str = ""

    @classmethod
    def parse(cls, text: str) -> "ObjectUrl":
        """Raises ValueError, whose message does not repeat what stands before the first slash: it may be a secret."""
        bucket, _, prefix = text[len("s3://") :].partition("/")
        if "@" in bucket or not _BUCKET.fullmatch(bucket):
            raise ValueError(
                "is no s3://bucket/prefix; credentials and endpoint come from the AWS_ variables of the environment"
            )
        return cls(bucket, prefix.rstrip("/"))

    def __truediv__(self, name: str) -> "ObjectUrl":
        return ObjectUrl(self.bucket, f"{self.prefix}/{name}" if self.prefix else name)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}" if self.prefix else f"s3://{self.bucket}"


Location = Path | ObjectUrl


def parse_location(text: str, base: Path) -> Location:
    """A location as a setting names it; a relative path starts at base. Raises ValueError (see ObjectUrl.parse)."""
    if text.lower().startswith("s3://"):
        return ObjectUrl.parse(text)
    if _SCHEME.match(text):
        raise ValueError("has a scheme other than s3://; name a local folder or s3://bucket/prefix")
    return (base / Path(text).expanduser()).absolute()


def rows_sql(landed: Location, source: str) -> str:
    """The SQL that reads all landed rows of a source, with their batch_id. DuckDB opens only what a filter leaves."""
    pattern = literal(f"{landed / source}/batch_id=*/*.parquet")
    return f"read_parquet({pattern}, hive_partitioning = true, hive_types = {{'batch_id': bigint}})"


def let_read(connection: "duckdb.DuckDBPyConnection", landed: Location) -> None:
    """Make a connection able to read a landed location. For local folders there is nothing to do."""
    if isinstance(landed, ObjectUrl):
        from log_ingest.object_store import ObjectStore

        ObjectStore(landed).attach_to(connection)


def reason(error: BaseException) -> str:
    """What went wrong, in one line."""
    return storage_problem(str(error)) or next(iter(str(error).strip().splitlines()), type(error).__name__)


def storage_problem(text: str) -> str | None:
    """The line of a StorageError in a text: DuckDB reports an error of a Python file system as a whole traceback."""
    found = (line.strip().removeprefix(_STORAGE_ERROR) for line in text.splitlines() if _STORAGE_ERROR in line)
    return next(found, None)


_STORAGE_ERROR = f"{StorageError.__module__}.{StorageError.__qualname__}: "
