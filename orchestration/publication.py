"""The record of a published version, and which one is published now. Needs no Dagster.

Belongs here: what is said of a version, and reading it. Does not: writing one (publish, write_version).
"""

import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import duckdb

SCHEMAS = ("core", "reports", "meta")
"""The schemas of the working database that are published, every relation of them."""

PUBLICATION_COLUMNS = {
    "version": ("bigint", "Rises by one or more with every publication."),
    "run_id": ("varchar", "The pipeline run that built and audited this version."),
    "published_at": ("timestamp", "When this version was written (UTC)."),
    "data_through_at": (
        "timestamp",
        "The newest tracking event in this version (UTC), leaving out clocks that run more than a day ahead.",
    ),
    "batch_id": ("bigint", "The newest landed batch that is part of this version."),
    "build_digest": ("varchar", "Digest of the models and settings that built this version."),
}


class PublishError(Exception):
    """Nothing was published, the former version stays. The message is one line that says why."""


@dataclass(frozen=True)
class Publication:
    """One published version. Times are UTC; tables maps "schema.table" to its rows.

    run_number, invocation_id: the working database's run that it was made of; empty where that keeps no record.
    pseudonym_check: tells whether pseudonyms were made with a key. added: versions since one that was copied whole.
    digests: SHA-256 by file, for whoever copies one to know that it is what was written.
    """

    version: int
    run_id: str
    published_at: datetime
    data_through_at: datetime | None
    batch_id: int
    build_digest: str
    tables: dict[str, int] = field(default_factory=dict)
    size_bytes: int = 0
    run_number: int = 0
    invocation_id: str = ""
    pseudonym_check: str = ""
    added: int = 0
    digests: dict[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.version:06d}"


def current(published_dir: Path) -> Publication | None:
    """The published version, or None where nothing has been published. Raises PublishError if it is damaged."""
    path = published_dir / "current" / "publication.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        through = facts["data_through_at"]
        return Publication(
            **{
                **facts,
                "published_at": datetime.fromisoformat(facts["published_at"]),
                "data_through_at": datetime.fromisoformat(through) if through else None,
            }
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PublishError(
            f"{path} cannot be read ({error}); point published/current at an older version or remove it, then: mtw run"
        ) from error


def relations(connection: duckdb.DuckDBPyConnection, database: str) -> list[tuple[str, str]]:
    """(schema, name) of every table and view in SCHEMAS of an attached database, in order."""
    return connection.execute(
        "select schema_name, table_name from duckdb_tables() where database_name = $1 and schema_name in $2"
        " union all select schema_name, view_name from duckdb_views()"
        " where database_name = $1 and schema_name in $2 and not internal order by all",
        [database, list(SCHEMAS)],
    ).fetchall()
