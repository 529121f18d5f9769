"""Reference rows: text columns become the entity's typed columns in vectorised SQL, or a reason why not."""

from datetime import datetime

from log_ingest.catalog import Column, ReferenceEntity, reference_schema
from log_ingest.formats.csv_records import INPUT
from log_ingest.sqltext import identifier, literal

_ID = r"-?[0-9]{1,19}(\.0+)?"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?)? ?(Z|UTC|[+-][0-9]{2}(:?[0-9]{2})?)?"
_TRUE, _FALSE = "('true', 't', 'yes', 'y', '1', '1.0')", "('false', 'f', 'no', 'n', '0', '0.0')"


def parsed_sql(
    entity: ReferenceEntity,
    columns: list[str],
    rows: str,
    *,
    file_id: int,
    source_file: str,
    file_modified_at: datetime,
    ingested_at: datetime,
) -> str:
    """A SELECT over `rows` (text columns named INPUT + `columns`, line_number, byte_offset) that gives the landed
    columns of the entity plus byte_offset and `reason` (NULL: acceptable).
    """
    present = set(columns)
    further = sorted(present - {column.name for column in entity.columns})
    typed = ",\n".join(
        f"{_typed(column) if column.name in present else _absent(column)} as {identifier(column.name)}"
        for column in entity.columns
    )
    reasons = "\n".join(_reason(column, entity) for column in entity.columns if column.name in present)
    entries = ", ".join(
        f"{{'key': {literal(name)}, 'value': nullif({identifier(INPUT + name)}, '')}}" for name in further
    )
    extra = (
        f"nullif(cast(to_json(map_from_entries(list_filter([{entries}], lambda e: e.value is not null))) as varchar),"
        " '{}')"
        if further
        else "cast(null as varchar)"
    )
    landed = ", ".join(identifier(name) for name in reference_schema(entity).names)
    return f"""
    with typed as (
        select
            {file_id}::bigint as file_id, {literal(source_file)} as source_file, line_number, byte_offset,
            timestamp {literal(ingested_at.isoformat(sep=" "))} as ingested_at,
            {typed},
            {extra} as extra,
            timestamp {literal(file_modified_at.isoformat(sep=" "))} as file_modified_at,
            case {reasons} end as reason
        from {rows}
    )
    select {landed.replace('"row_hash"', f"{row_hash_sql(entity)} as row_hash")}, byte_offset, reason
    from typed
    """


def row_hash_sql(entity: ReferenceEntity) -> str:
    """SQL of row_hash: equal content, equal hash, whatever the file."""
    content = ", ".join(
        f"coalesce(cast({identifier(name)} as varchar), chr(30))"
        for name in [*(column.name for column in entity.columns), "extra"]
    )
    return f"md5(concat_ws(chr(31), {content}))"


def accepted_sql(entity: ReferenceEntity, parsed: str) -> str:
    names = ", ".join(identifier(name) for name in reference_schema(entity).names)
    return f"select {names} from ({parsed}) where reason is null"


def refused_sql(parsed: str) -> str:
    """line_number, byte_offset, reason, detail of the rows that cannot be taken."""
    return (
        "select line_number, byte_offset, split_part(reason, ':', 1) as reason,"
        " replace(reason, ':', ' in column ') as detail"
        f" from ({parsed}) where reason is not null order by line_number"
    )


def _text(column: Column) -> str:
    return f"trim({identifier(INPUT + column.name)})"


def _typed(column: Column) -> str:
    text = _text(column)
    match column.kind:
        case "text":
            return f"nullif({identifier(INPUT + column.name)}, '')"
        case "id":
            number = _number(text, _ID)
            # The unsigned view of a negative signed 32-bit id, as the logs write it.
            signed = f"case when {number} < 0 then {number} + 4294967296 else {number} end"
            return f"coalesce({signed}, 0)" if not column.is_required else signed
        case "integer":
            return _number(text, _ID)
        case "timestamp":
            known = f"case when regexp_full_match({text}, {literal(_TIME)}) then {_usual_time(text)} end"
            instant = f"try_cast({known} as timestamptz)"
            return f"timezone('UTC', {instant})"
        case "boolean":
            return f"case when lower({text}) in {_TRUE} then true when lower({text}) in {_FALSE} then false end"


def _usual_time(text: str) -> str:
    """SQL: a text of the form _TIME as DuckDB reads it: no blank before the zone, a time of day where there is one."""
    for form, usual in (
        (" ?(Z|UTC)$", "Z"),
        (" ([+-][0-9:]+)$", r"\1"),
        ("^([0-9-]{10})([Z+-].*)$", r"\1 00:00\2"),
    ):
        text = f"regexp_replace({text}, {literal(form)}, {literal(usual)})"
    return text


def _number(text: str, pattern: str) -> str:
    digits = f"case when regexp_full_match({text}, {literal(pattern)}) then split_part({text}, '.', 1) end"
    return f"try_cast({digits} as bigint)"


def _absent(column: Column) -> str:
    kinds = {"id": "bigint", "integer": "bigint", "timestamp": "timestamp", "boolean": "boolean", "text": "varchar"}
    # An id that a row does not name reads 0 = unknown, as in the logs.
    return "0::bigint" if column.kind == "id" else f"null::{kinds[column.kind]}"


def _reason(column: Column, entity: ReferenceEntity) -> str:
    text, name = _text(column), column.name
    cases = ""
    if column.is_required or (name in entity.key and column.kind == "text"):
        cases += f" when coalesce({text}, '') = '' then {literal(f'missing_value:{name}')}"
    if column.kind != "text":
        kind = "bad_id" if column.kind == "id" else "bad_value"
        limit = f" or {_number(text, _ID)} < -2147483648" if column.kind == "id" else ""
        if column.kind == "id" and column.is_required and name in entity.key:
            limit += f" or {_number(text, _ID)} = 0"  # 0 means unknown: no row is about it
        cases += (
            f" when coalesce({text}, '') <> '' and ({_typed_or_null(column)} is null{limit})"
            f" then {literal(f'{kind}:{name}')}"
        )
    return cases


def _typed_or_null(column: Column) -> str:
    return _number(_text(column), _ID) if column.kind == "id" else _typed(column)
