"""What is read of tracking lines by position is what the SQL of the format reads, whatever the bytes."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from log_ingest.catalog import TRACKING_LOGS_SCHEMA
from log_ingest.formats.line_format import ParseSettings
from log_ingest.formats.trackinglogd import Trackinglogd
from log_ingest.framing import Framer, unfit
from log_ingest.ledger import Content
from log_ingest.part_lines import PartLines, Placed, gathered
from tests.loglines import line

NOW = datetime(2026, 11, 25, 8, 30)
COLUMNS = TRACKING_LOGS_SCHEMA.names
USUAL = line(7, at="2024-05-01T10:00:00.125")


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        yield connection


def part_lines(data: bytes) -> PartLines:
    content = Content("tracking_logs", "tracking_logs/a.log", "")
    placed = []
    for block in Framer([data], 0, 1, is_sealed=True):
        keep = np.array([index for index in range(len(block)) if index not in unfit(block)], int)
        placed.append(Placed(block, content, 0, keep))
    (lines,) = gathered(placed)
    return lines


def by_sql(lines: PartLines, parse: ParseSettings, con: duckdb.DuckDBPyConnection) -> dict[int, dict]:
    con.register("lines", lines.relation())
    rows = con.sql(Trackinglogd().accepted_sql("lines", parse)).to_arrow_table()
    con.unregister("lines")
    return by_number(rows)


def by_position(lines: PartLines, parse: ParseSettings, con: duckdb.DuckDBPyConnection) -> dict[int, dict]:
    usual = Trackinglogd().read_usual(lines.text, parse, con)
    assert np.all(np.diff(usual.lines) > 0)
    where_from = lines.provenance(usual.lines, parse.ingested_at)
    return by_number(pa.table(where_from | dict(usual.columns)).select(COLUMNS))


def by_number(rows: pa.Table) -> dict[int, dict]:
    """Rows by line number, times in microseconds: Python has no year 0."""
    place = rows.column_names.index("occurred_at")
    rows = rows.set_column(place, "occurred_at", rows["occurred_at"].cast(pa.int64()))
    return {row["line_number"]: row for row in rows.to_pylist()}


def texts(alphabet: str, size: int) -> st.SearchStrategy[str]:
    return st.text(alphabet, max_size=size)


HEX = "0123456789abcdef"
ODD = (
    # log id
    *(f"{server}0x000000000FD7EC86" for server in ("A", "z", "-", "é", "", "55", " ")),
    *(f"5{mark}000000000FD7EC86" for mark in ("0X", "x0", "0y", "1x", "")),
    *(f"50x{number}" for number in ("7FFFFFFFFFFFFFFF", "8000000000000000", "FFFFFFFFFFFFFFFF", "0" * 16, "0" * 17)),
    *(f"50x{number}" for number in ("", "F", "000000000fd7ec86", "000000000FD7eC86", "000000000FD7EC8G", "A" * 15)),
    # time
    *(
        f"{year}-05-01T10:00:00.125"
        for year in ("0000", "0999", "1000", "1969", "1999", "2000", "2999", "3000", "9999")
    ),
    *(f"2024-{month}-01T10:00:00.125" for month in ("00", "01", "12", "13", "1", "1a")),
    *(f"2024-{day}T10:00:00.125" for day in ("02-29", "02-30", "04-30", "04-31", "12-31", "01-32", "01-00", "01-1")),
    *(f"{year}-02-29T10:00:00.125" for year in (1900, 2000, 2023, 2100)),
    *(f"2024-05-01T{hour}:00:00.125" for hour in ("00", "23", "24", "25", "1")),
    *(f"2024-05-01T10:{minute}:00.125" for minute in ("59", "60", "99", "5")),
    *(
        f"2024-05-01T10:00:{second}"
        for second in ("59.125", "60.125", "61.125", "99.125", "5.125", "59", "59.", "59,125")
    ),
    *(
        f"2024-05-01T10:00:00.{fraction}"
        for fraction in ("1", "12", "1234", "999999", "1234567", "123456789", "1" * 10)
    ),
    *(f"2024-05-01T10:00:00.{fraction}" for fraction in ("9999995", "12a", "-12", "12 ", "000")),
    *("2024/05-01T10:00:00.125", "2024-05/01T10:00:00.125", "2024-05-01t10:00:00.125", "2024-05-01 10:00:00.125"),
    *("2024-05-01T10.00:00.125", "2024-05-01T10:00.00.125", "2024-05-01T10:00:00.12Z", "24-05-01T10:00:00.125", ""),
    # Nights in which the clocks of Paris are changed; the limits of what is flagged.
    *("2024-03-31T02:30:00.000", "2024-10-27T02:30:00.125", "1999-12-31T23:59:59.999", "1999-12-31T23:59:59.999999"),
    *("2026-11-26T08:30:00.000", "2026-11-26T08:30:00.001"),
    # ids
    *(
        "0",
        "00",
        "0a",
        "A",
        "aB",
        "1_0",
        "+1",
        "-1",
        " 1",
        "g",
        "0x1",
        "7" + "f" * 15,
        "8" + "0" * 15,
        "1" * 16,
        "1" * 17,
    ),
    # names and addresses
    *("1" * 40, "1" * 41, "z" * 16, "z" * 17, "z" * 40, "z" * 41, "Z-", "a_b", "é", "::1", "1.2.3.4", "1.2.3.4,", ",é"),
    *("1.2.3.4,10.0.0.1, 10.0.0.2", "1.2.3.4;5", "g,1.2.3.4", "F:.a", "1" * 40 + ",", "1" * 41 + ",x", "1" * 40 + "g"),
)
"""Values at the limits of what a field may be, and beyond them."""

FREE = texts("ab09 ,;:=&%é€\U0001f600-", 60)
ANY = st.one_of(
    *(st.sampled_from(ODD), FREE, texts(HEX + "AG-", 20), texts(HEX + ".:,", 45)),
    *(st.integers(0, 2**64 - 1).map(lambda number: f"{number:x}"), st.datetimes().map(str)),
    st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1)).map(datetime.isoformat),
    st.integers(0, 2**64 - 1).map(lambda number: f"50x{number:016X}"),
)


def fields_of(made: bytes) -> list[str]:
    return made.decode().strip("\n").split("\t")


@st.composite
def any_lines(draw: st.DrawFn) -> bytes:
    """A usual line in which some fields are anything, or left out, or further ones, or one character is changed."""
    fields = fields_of(USUAL)
    for place in draw(st.lists(st.integers(0, len(fields) - 1), max_size=3)):
        fields[place] = draw(ANY)
    if draw(st.integers(0, 3)) == 0:
        fields += draw(st.lists(ANY, max_size=3))
    if draw(st.integers(0, 9)) == 0:
        del fields[draw(st.integers(0, len(fields) - 1))]
    text = "\t".join(fields)
    if draw(st.integers(0, 4)) == 0:
        place = draw(st.integers(0, len(text) - 1))
        text = text[:place] + draw(st.sampled_from("\t \x7f\0é0:.,-xTZ")) + text[place + 1 :]
    return text.encode() + draw(st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"]))


@pytest.mark.parametrize("zones", [{}, {"5": "Europe/Paris"}])
def test_each_field_at_its_limits(con: duckdb.DuckDBPyConnection, zones: dict[str, str]) -> None:
    """Every value in every place of an otherwise usual line, and behind its last field."""
    usual = fields_of(USUAL)
    made = ["\t".join([*usual[:place], odd, *usual[place + 1 :]]) for odd in ODD for place in range(len(usual))]
    made += ["\t".join([*usual, *more]) for odd in ODD for more in ([odd], [odd, ""], ["", odd])]
    lines = part_lines(b"".join(f"{text}\n".encode() for text in made))
    exact = by_sql(lines, parse := ParseSettings(NOW, zones), con)
    read = by_position(lines, parse, con)
    assert {number: exact.get(number) for number in read} == read
    assert len(read) > len(exact) / 2


@settings(max_examples=150, deadline=None)
@given(st.lists(any_lines(), min_size=8, max_size=40), st.sampled_from([{}, {"5": "Europe/Paris"}]))
def test_what_is_read_by_position_is_what_sql_reads(
    con: duckdb.DuckDBPyConnection, some: list[bytes], zones: dict[str, str]
) -> None:
    lines = part_lines(b"".join([USUAL, *some]))
    parse = ParseSettings(NOW, zones)
    exact = by_sql(lines, parse, con)
    for number, row in by_position(lines, parse, con).items():
        assert row == exact[number]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 2**32))
def test_whatever_the_bytes(con: duckdb.DuckDBPyConnection, noise: bytes, seed: int) -> None:
    rng = random.Random(seed)
    data = bytearray(b"".join(line(n, server=rng.choice("5é")) for n in range(8)))
    for byte in noise:
        data[rng.randrange(len(data))] = rng.choice([byte, 9, 10, 46, 48])
    lines = part_lines(USUAL + bytes(data))
    parse = ParseSettings(NOW)
    exact = by_sql(lines, parse, con)
    for number, row in by_position(lines, parse, con).items():
        assert row == exact[number]


def microseconds(at: datetime) -> int:
    return round((at - datetime(1970, 1, 1)).total_seconds() * 1_000_000)


def test_usual_lines_are_read_by_position(con: duckdb.DuckDBPyConnection) -> None:
    """The values are those that the fields were made of; the text of what they tell is not kept."""
    rng = random.Random(3)
    made, data = {}, []
    for number in range(1, 2001):
        server, pointer = rng.choice("5aZ"), rng.randrange(2**63)
        at = datetime.fromtimestamp(rng.randrange(946684800, 1700000000), UTC).replace(tzinfo=None)
        at = at.replace(microsecond=rng.randrange(1000) * 1000)
        ids = [rng.choice([0, 1, rng.randrange(2**32), rng.randrange(2**63)]) for _ in range(3)]
        params = rng.choice(["", "p1=a&p2=é", "x" * 60])
        visitor, ip = rng.choice(["", f"{rng.getrandbits(128):032x}"]), rng.choice(["::1", "1.2.3.4,10.0.0.1, é"])
        forwarded = rng.choice([None, "", "10.1.1.1"])
        tail = ip if forwarded is None else f"{ip}\t{forwarded}"
        data.append(
            line(
                pointer,
                **{"server": server, "at": at.isoformat(timespec="milliseconds"), "message": ids[0]},
                **{"delivery": ids[1], "url": ids[2], "visitor": visitor, "params": params, "ip": tail},
            )
        )
        made[number] = {"server": server, "pointer": pointer, "occurred_at": microseconds(at), "visitor_id": visitor}
        made[number] |= {"params": params, "ip": ip, "forwarded_for": forwarded}
        made[number] |= dict(zip(("message_id", "delivery_id", "url_id"), ids, strict=True))
    read = by_position(part_lines(b"".join(data)), ParseSettings(NOW), con)
    assert {number: {name: row[name] for name in made[number]} for number, row in read.items()} == made
    kept = ("log_id", "logged_at_text", "message_id_text", "delivery_id_text", "url_id_text", "time_flag", "extra")
    assert all(row[name] is None for row in read.values() for name in kept)
    assert {row["terminator"] for row in read.values()} == {"\n"}
