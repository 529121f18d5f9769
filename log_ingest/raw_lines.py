"""Raw lines back from landed Parquet: the SQL that says what a landed row was in its file.

Belongs here: how each kind of landed row becomes text again. Does not: which rows are wanted.
"""

from log_ingest.catalog import LANDED_SCHEMAS, LINE_SOURCES, REFERENCE_ENTITIES
from log_ingest.formats.registry import LINE_FORMATS
from log_ingest.formats.trackinglogd import LINE
from log_ingest.sqltext import identifier
from log_ingest.storage import Location, rows_sql


def line_sources() -> list[str]:
    """The landed sources whose rows are lines of log files."""
    return [source.name for source in LINE_SOURCES]


def key_sql(source: str) -> str:
    """SQL of the event_key of a row of a line source."""
    return LINE_FORMATS[source].identity


def line_sql(source: str) -> str:
    """SQL of a row's line without its terminator, as it stood in the file; `line` where the source keeps it whole, on
    the first row of several that one line gave."""
    if "line" in LANDED_SCHEMAS[source].names:
        return "line"
    return LINE


def reference_row_sql(entity_name: str) -> str:
    """SQL of a reference row as a JSON object of the fields that it gave."""
    (entity,) = (entity for entity in REFERENCE_ENTITIES if entity.name == entity_name)
    names = [column.name for column in entity.columns] + ["extra"]
    fields = ", ".join(f"{identifier(name)} := {identifier(name)}" for name in names)
    # Merging with an empty object drops what the row left out.
    return f"cast(json_merge_patch('{{}}', to_json(struct_pack({fields}))) as varchar)"


def landed_rows(landed_dir: Location, source: str) -> str:
    """SQL that reads all landed rows of a source."""
    return f"(select * from {rows_sql(landed_dir, source)})"
