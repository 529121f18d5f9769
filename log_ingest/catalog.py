"""The source catalogue: every input, its folder, its columns, their types and how personal they are.

Belongs here: what a source looks like. Does not: how it is read (formats) or what it means (dbt_project).
A new reference entity is one more entry in REFERENCE_ENTITIES; a new line format is one more LineSource and a
module in formats/.
"""

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

Kind = Literal["id", "text", "integer", "timestamp", "boolean"]
"""How a reference value is read. id: decimal, negative 32-bit values become their unsigned view (BIGINT)."""

ARROW_TYPES: dict[Kind, pa.DataType] = {
    "id": pa.int64(),
    "text": pa.string(),
    "integer": pa.int64(),
    "timestamp": pa.timestamp("us"),
    "boolean": pa.bool_(),
}


@dataclass(frozen=True)
class Column:
    """One canonical column. is_personal marks direct identifiers and free text about a person."""

    name: str
    kind: Kind
    is_required: bool = False
    is_personal: bool = False


@dataclass(frozen=True)
class ReferenceEntity:
    """One kind of reference row, landed as CSV or Parquet files; the newest row per key wins."""

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def folder(self) -> str:
        return f"reference/{self.name}"


@dataclass(frozen=True)
class LineSource:
    """One kind of log, landed as text files of one record per line. suffixes: of its files; ("",) takes any name."""

    name: str
    folder: str
    suffixes: tuple[str, ...]


def _columns(required: str, personal: str = "", **kinds: Kind) -> tuple[Column, ...]:
    need, private = required.split(), personal.split()
    return tuple(Column(name, kind, name in need, name in private) for name, kind in kinds.items())


TRACKING_LOGS = LineSource("tracking_logs", "tracking_logs", (".log", ".log.gz", ".log.zst"))
ACCESS_LOGS = LineSource("access_logs", "access_logs", ("",))
ESP_EVENTS = LineSource("esp_events", "esp_events", (".jsonl", ".jsonl.gz", ".jsonl.zst"))
LINE_SOURCES = (TRACKING_LOGS, ACCESS_LOGS, ESP_EVENTS)

REFERENCE_SUFFIXES = (".csv", ".csv.gz", ".csv.zst", ".parquet")

REFERENCE_ENTITIES = (
    ReferenceEntity(
        "deliveries",
        ("delivery_id",),
        _columns(
            "delivery_id",
            delivery_id="id",
            internal_name="text",
            label="text",
            campaign_label="text",
            channel="text",
            typology="text",
            is_proof="boolean",
            sent_at="timestamp",
            validity_end_at="timestamp",
            target_count="integer",
            rejected_count="integer",
            to_deliver_count="integer",
            html_content="text",
            text_content="text",
            message_size_bytes="integer",
        ),
    ),
    ReferenceEntity(
        "messages",
        ("message_id",),
        _columns(
            "message_id delivery_id recipient_id status",
            "address",
            message_id="id",
            delivery_id="id",
            recipient_id="id",
            address="text",
            status="integer",
            failure_reason="integer",
            event_at="timestamp",
            content_format="text",
            is_seed="boolean",
            is_control="boolean",
        ),
    ),
    ReferenceEntity(
        "tracked_urls",
        ("delivery_id", "url_id"),
        _columns(
            "url_id url_type",
            url_id="id",
            delivery_id="id",
            label="text",
            source_url="text",
            category="text",
            url_type="integer",
            link_position="integer",
            tracking_mode="text",
        ),
    ),
    ReferenceEntity(
        "recipients",
        ("recipient_id",),
        _columns(
            "recipient_id",
            "email first_name last_name",
            recipient_id="id",
            email="text",
            first_name="text",
            last_name="text",
            time_zone="text",
            language="text",
            created_at="timestamp",
            is_denylisted="boolean",
        ),
    ),
    ReferenceEntity("mail_domains", ("domain",), _columns("domain", domain="text", domain_label="text")),
    ReferenceEntity("services", ("service_id",), _columns("service_id", service_id="id", label="text", channel="text")),
    ReferenceEntity(
        "subscriptions",
        # A history, not a state: each subscribe and unsubscribe is a row of its own.
        ("service_id", "recipient_id", "occurred_at", "action"),
        _columns(
            "service_id recipient_id occurred_at action",
            service_id="id",
            recipient_id="id",
            occurred_at="timestamp",
            action="integer",
        ),
    ),
    ReferenceEntity(
        "consents",
        # The newest word on each purpose; granted_at after withdrawn_at: granted again.
        ("recipient_id", "purpose"),
        _columns(
            "recipient_id purpose",
            recipient_id="id",
            purpose="text",
            granted_at="timestamp",
            withdrawn_at="timestamp",
        ),
    ),
    ReferenceEntity(
        "web_tags",
        ("tag_id",),
        _columns("tag_id", tag_id="text", url_id="id", label="text", url_type="integer", folder="text"),
    ),
    ReferenceEntity(
        "web_paths",
        ("path_label", "step_number"),
        _columns(
            "path_label step_number url_id",
            path_label="text",
            step_number="integer",
            url_id="id",
            traffic_source="text",
        ),
    ),
)

PROVENANCE = pa.schema(
    [
        ("file_id", pa.int64()),
        ("source_file", pa.string()),
        ("line_number", pa.int64()),
        ("ingested_at", pa.timestamp("us")),
    ]
)

TRACKING_LOGS_SCHEMA = pa.schema(
    [
        *PROVENANCE,
        ("byte_offset", pa.int64()),
        ("terminator", pa.string()),
        ("log_id", pa.string()),
        ("logged_at_text", pa.string()),
        ("message_id_text", pa.string()),
        ("delivery_id_text", pa.string()),
        ("url_id_text", pa.string()),
        ("forced_delivery_id", pa.string()),
        ("visitor_id", pa.string()),
        ("content_kind", pa.string()),
        ("params", pa.string()),
        ("user_agent", pa.string()),
        ("ip", pa.string()),
        ("forwarded_for", pa.string()),
        ("extra", pa.string()),
        ("server", pa.string()),
        ("pointer", pa.int64()),
        ("occurred_at", pa.timestamp("us")),
        ("time_flag", pa.string()),
        ("message_id", pa.int64()),
        ("delivery_id", pa.int64()),
        ("url_id", pa.int64()),
    ]
)

ACCESS_LOGS_SCHEMA = pa.schema(
    [
        *PROVENANCE,
        ("byte_offset", pa.int64()),
        ("terminator", pa.string()),
        ("event_key", pa.string()),
        ("line", pa.string()),
        ("site", pa.string()),
        ("hit_kind", pa.string()),
        ("occurred_at", pa.timestamp("us")),
        ("time_flag", pa.string()),
        ("message_id", pa.int64()),
        ("delivery_id", pa.int64()),
        ("url_id", pa.int64()),
        ("content_kind", pa.string()),
        ("params", pa.string()),
        ("tag", pa.string()),
        ("forced_delivery_id", pa.int64()),
        ("visitor_id", pa.string()),
        ("has_session", pa.bool_()),
        ("is_opted_out", pa.bool_()),
        ("method", pa.string()),
        ("status", pa.int64()),
        ("user_agent", pa.string()),
        ("ip", pa.string()),
        ("forwarded_for", pa.string()),
    ]
)

ESP_EVENTS_SCHEMA = pa.schema(
    [
        *PROVENANCE,
        ("byte_offset", pa.int64()),
        ("terminator", pa.string()),
        ("event_key", pa.string()),
        ("line", pa.string()),
        ("element_number", pa.int64()),
        ("provider", pa.string()),
        ("event_kind", pa.string()),
        ("event_type", pa.string()),
        ("provider_event_id", pa.string()),
        ("provider_message_id", pa.string()),
        ("occurred_at", pa.timestamp("us")),
        ("time_flag", pa.string()),
        ("message_id", pa.int64()),
        ("delivery_id", pa.int64()),
        ("recipient_id", pa.int64()),
        ("address", pa.string()),
        ("url", pa.string()),
        ("user_agent", pa.string()),
        ("ip", pa.string()),
        ("is_machine", pa.bool_()),
        ("bounce_kind", pa.string()),
        ("bounce_text", pa.string()),
    ]
)

SET_ASIDE_SCHEMA = pa.schema(
    [
        *PROVENANCE,
        ("disposition", pa.string()),
        ("source", pa.string()),
        ("byte_offset", pa.int64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("server", pa.string()),
        ("pointer", pa.int64()),
        ("raw", pa.binary()),
        ("terminator", pa.string()),
    ]
)

USER_AGENTS_SCHEMA = pa.schema(
    [
        ("user_agent", pa.string()),
        ("user_agent_key", pa.string()),
        ("device_class", pa.string()),
        ("os_name", pa.string()),
        ("os_version", pa.string()),
        ("browser_name", pa.string()),
        ("browser_version", pa.string()),
        ("mail_client_name", pa.string()),
        ("mail_client_version", pa.string()),
        ("crawler_name", pa.string()),
        ("crawler_list", pa.string()),
        ("parser_version", pa.string()),
        ("ingested_at", pa.timestamp("us")),
    ]
)

CONTENT_LINKS_SCHEMA = pa.schema(
    [
        *PROVENANCE,
        ("delivery_id", pa.int64()),
        ("html_digest", pa.string()),
        ("link_position", pa.int64()),
        ("href", pa.string()),
        ("link_text", pa.string()),
        ("redirect_delivery_id", pa.int64()),
        ("redirect_url_id", pa.int64()),
    ]
)

BATCHES_SCHEMA = pa.schema(
    [
        ("batch_id", pa.int64()),
        ("source", pa.string()),
        ("run_id", pa.string()),
        ("committed_at", pa.timestamp("us")),
        ("accepted_count", pa.int64()),
    ]
)


_TALLY = ("lines", "accepted", "duplicate", "quarantined", "blank", "not_tracking", "suppressed")

LEDGER_SCHEMAS: dict[str, pa.Schema] = {
    "ledger_files": pa.schema(
        [
            ("source", pa.string()),
            ("file_id", pa.int64()),
            ("source_file", pa.string()),
            *((f"{name}_count", pa.int64()) for name in _TALLY),
            ("purged_count", pa.int64()),
            ("content_bytes", pa.int64()),
            ("held_bytes", pa.int64()),
            ("copy_count", pa.int64()),
            ("first_seen_at", pa.timestamp("us")),
        ]
    ),
    "ledger_gaps": pa.schema(
        [
            ("server", pa.string()),
            ("first_missing_pointer", pa.int64()),
            ("last_missing_pointer", pa.int64()),
            ("missing_count", pa.int64()),
            ("before_at", pa.timestamp("us")),
            ("after_at", pa.timestamp("us")),
        ]
    ),
    "ledger_problems": pa.schema(
        [
            ("source", pa.string()),
            ("source_file", pa.string()),
            ("problem", pa.string()),
            ("since_at", pa.timestamp("us")),
        ]
    ),
    "ledger_purges": pa.schema(
        [
            ("delivery_id", pa.int64()),
            ("kind", pa.string()),
            ("purged_at", pa.timestamp("us")),
            ("kept_days", pa.int64()),
            ("expired_at", pa.timestamp("us")),
            ("event_count", pa.int64()),
            ("first_event_at", pa.timestamp("us")),
            ("last_event_at", pa.timestamp("us")),
        ]
    ),
    "ledger_frozen": pa.schema([("table_name", pa.string()), ("path", pa.string())]),
    "ledger_salt": pa.schema([("salt", pa.string())]),
    "ledger_refusals": pa.schema([("person_key", pa.string()), ("refused_at", pa.timestamp("us"))]),
}
"""What the ledger knows of files, gaps, problems and purges, as one Parquet file each beside batches.parquet."""


def reference_schema(entity: ReferenceEntity) -> pa.Schema:
    """The landed schema of a reference entity: provenance, its columns, then what identifies a version."""
    return pa.schema(
        [
            *PROVENANCE,
            *((column.name, ARROW_TYPES[column.kind]) for column in entity.columns),
            ("extra", pa.string()),
            ("file_modified_at", pa.timestamp("us")),
            ("row_hash", pa.string()),
        ]
    )


LANDED_SCHEMAS: dict[str, pa.Schema] = {
    TRACKING_LOGS.name: TRACKING_LOGS_SCHEMA,
    ACCESS_LOGS.name: ACCESS_LOGS_SCHEMA,
    ESP_EVENTS.name: ESP_EVENTS_SCHEMA,
    "set_aside": SET_ASIDE_SCHEMA,
    "user_agents": USER_AGENTS_SCHEMA,
    "content_links": CONTENT_LINKS_SCHEMA,
    **{entity.name: reference_schema(entity) for entity in REFERENCE_ENTITIES},
}
"""Every directory below landed/ and the schema of its Parquet files."""

FROZEN = "frozen"
"""The directory below landed/ for report rows of purged deliveries, a file per table and batch. No source: their
columns are those of the published tables."""

EMPTY_BATCH = 2**63 - 1
"""The partition of the empty file that each source has from the start, so that readers always find its columns. Its
name sorts behind that of batch 1: DuckDB estimates the rows of all files by those of the first, and an empty one there
makes it hash millions of events to join them with a handful of links."""

READABLE_SCHEMAS: dict[str, pa.Schema] = {**LANDED_SCHEMAS, "batches": BATCHES_SCHEMA, **LEDGER_SCHEMAS}
"""Everything below landed/ that readers see: the sources, and what the ledger knows."""

# Of lines: what tells a person, a browser or a household, or may hold anything that a page or a provider wrote.
_PERSONAL_OF_LINES = {
    TRACKING_LOGS.name: "visitor_id params ip forwarded_for extra",
    ACCESS_LOGS.name: "line visitor_id params ip forwarded_for",
    ESP_EVENTS.name: "line address ip url bounce_text",
    "set_aside": "raw",
}
PERSONAL_COLUMNS: dict[str, frozenset[str]] = {
    **{name: frozenset(columns.split()) for name, columns in _PERSONAL_OF_LINES.items()},
    **{
        entity.name: frozenset({column.name for column in entity.columns if column.is_personal})
        | (frozenset({"extra"}) if any(column.is_personal for column in entity.columns) else frozenset())
        for entity in REFERENCE_ENTITIES
    },
}
"""By landed source: direct identifiers and free text about a person. Numbers that only the platform can resolve
(recipient_id, message_id) are pseudonyms and not among them. `extra` holds further columns of an entity with personal
ones, whatever they are."""
