"""Parts that an older catalogue wrote: they get the columns that it has now, once.

Readers take the columns of a source from one of its parts and open the others only where they want their rows. Reading
by name instead opens every part at every statement, which is what a warehouse of years, or one in a bucket, cannot pay.
Belongs here: finding such parts and writing them anew. Does not: what the columns are (catalog).
"""

import hashlib
from uuid import uuid4

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from log_ingest.catalog import FROZEN, LANDED_SCHEMAS
from log_ingest.landed_places import LandedPlace, digest, fsync, temp_of
from log_ingest.ledger import Commit, Ledger, Part
from log_ingest.sqltext import literal

_FACT = "columns_of:"
_READ_BY_NAME = {"set_aside"}
"""Lines that were set aside: releases up to format 5 wrote a column that is NULL in a whole part without its type."""


def renew_parts(place: LandedPlace, ledger: Ledger, con: duckdb.DuckDBPyConnection, options: str) -> int:
    """Write anew the landed parts that lack a column of their source, or have it in another type. Returns how many.

    Rows, their order and columns that the catalogue does not know stay; a new column is NULL. options: of COPY. Nobody
    else may be reading or adding parts. Whoever dies here leaves the parts as they were, or as they are to be.
    """
    known = {
        source: _columns_digest(schema) for source, schema in LANDED_SCHEMAS.items() if source not in _READ_BY_NAME
    }
    told = dict(ledger.facts_like(_FACT))
    stale = [source for source, columns in known.items() if told.get(_FACT + source) != columns]
    paths = [row["path"] for row in ledger.parts()] if stale else []
    count = 0
    for source in stale:
        commit = Commit(FROZEN, "", facts={_FACT + source: known[source]})
        for path in paths:
            if path.startswith(f"{source}/") and not _is_as(place, path, LANDED_SCHEMAS[source]):
                commit.replaced[path] = _renewed(place, ledger, con, source, path, options)
        ledger.commit(None, commit)
        for path in commit.replaced:
            place.remove(path)
        count += len(commit.replaced)
    return count


def _is_as(place: LandedPlace, path: str, schema: pa.Schema) -> bool:
    with place.open(path) as stream:
        found = pq.read_schema(stream)
    return all(name in found.names and found.field(name).type == schema.field(name).type for name in schema.names)


def _renewed(
    place: LandedPlace, ledger: Ledger, con: duckdb.DuckDBPyConnection, source: str, path: str, options: str
) -> Part:
    """Place the part beside the old one; it does not exist before the ledger says so."""
    temp = temp_of(place, ledger)
    temp.mkdir(parents=True, exist_ok=True)
    draft = temp / uuid4().hex
    con.register("columns_now", LANDED_SCHEMAS[source].empty_table())
    stored = f"read_parquet({literal(str(place.root / path))}, hive_partitioning = false)"
    con.execute(f"copy (from columns_now union all by name from {stored}) to {literal(str(draft))} ({options})")
    con.unregister("columns_now")
    fsync(draft)
    name = f"{path.removesuffix('.parquet')}-c{uuid4().hex[:8]}.parquet"
    part = Part(name, digest(draft), pq.read_metadata(draft).num_rows)
    place.take(draft, part.path)
    return part


def _columns_digest(schema: pa.Schema) -> str:
    return hashlib.sha256("\n".join(f"{field.name} {field.type}" for field in schema).encode()).hexdigest()
