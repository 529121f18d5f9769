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
EDGE = line(7)
"""Lines at a buffer's beginning and end are not read by position: others stand between two of these."""


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
    """Rows by line number."""
    con.register("lines", lines.relation())
    rows = con.sql(Trackinglogd().accepted_sql("lines", parse)).to_arrow_table().to_pylist()
    con.unregister("lines")
    return {row["line_number"]: row for row in rows}


def by_position(lines: PartLines, parse: ParseSettings, con: duckdb.DuckDBPyConnection) -> dict[int, dict]:
    usual = Trackinglogd().read_usual(lines.text, parse, con)
    table = pa.table(lines.provenance(usual.lines, parse.ingested_at) | dict(usual.columns))
    assert np.all(np.diff(usual.lines) > 0)
    return {row["line_number"]: row for row in table.select(COLUMNS).to_pylist()}


def texts(alphabet: str, size: int) -> st.SearchStrategy[str]:
    return st.text(alphabet, max_size=size)


def numbers(low: int, high: int, width: int, *beyond: int) -> st.SearchStrategy[str]:
    """Numbers from low to high, now and then one beyond."""
    inside = st.integers(low, high)
    found = st.one_of(inside, inside, inside, st.sampled_from([low, high, *beyond]))
    return found.map(lambda number: f"{number:0{width}d}")


def joined(*parts: st.SearchStrategy[str] | str) -> st.SearchStrategy[str]:
    return st.tuples(*(st.just(part) if isinstance(part, str) else part for part in parts)).map("".join)


def mostly(usual: str, *others: str) -> st.SearchStrategy[str]:
    return st.sampled_from([usual] * 2 * len(others) + list(others))


HEX = "0123456789abcdef"
POINTERS = st.one_of(
    st.integers(0, 2**63 - 1).map(lambda number: f"{number:016X}"),
    st.sampled_from(["7FFFFFFFFFFFFFFF", "8000000000000000", "FFFFFFFFFFFFFFFF", "00000000000000ab", "0", "1" * 17]),
    texts("0123456789ABCDEFabcG", 17),
)
LOG_IDS = joined(mostly("5", "A", "-", "é", "", "55"), mostly("0x", "x0", "0X", "0y"), POINTERS)
TIMES = st.one_of(
    joined(
        *(numbers(1000, 2999, 4, 0, 999, 3000, 9999), mostly("-", "/"), numbers(1, 12, 2, 0, 13), mostly("-", ".")),
        *(numbers(1, 28, 2, 0, 29, 30, 31, 32), mostly("T", "t", " "), numbers(0, 23, 2, 24, 25, 99), mostly(":", "-")),
        *(numbers(0, 59, 2, 60, 99), mostly(":", "."), numbers(0, 59, 2, 60, 61), mostly(".", ",", "")),
        st.one_of(texts("0123456789", 9), st.sampled_from(["", "0", "120", "1234567", "1a"])),
    ),
    # Nights in which the clocks of Paris are changed; the limits of what is flagged.
    st.sampled_from(["2024-03-31T02:30:00.000", "2024-10-27T02:30:00.125", "1999-12-31T23:59:59.999999"]),
    st.sampled_from(["2000-01-01T00:00:00.0", "2026-11-26T08:30:00.000", "2026-11-26T08:30:00.001"]),
    st.sampled_from(["2023-02-29T00:00:00.000", "2024-02-29T00:00:00.00", "2100-02-29T00:00:00.00"]),
)
IDS = st.one_of(
    st.integers(0, 2**63 - 1).map(lambda number: f"{number:x}"),
    st.sampled_from(
        ["", "0", "00", "0a", "A", "1_0", "+1", " 1", "g", "7fffffffffffffff", "8000000000000000", "1" * 17]
    ),
    texts(HEX + "AG", 18),
)
FREE = texts("ab09 ,;:=&%é€\U0001f600-", 60)
ADDRESSES = st.one_of(
    *(
        texts("0123456789abcdefABCDEF.:", 45),
        texts("1a.:,gé ", 60),
        st.sampled_from(["", ",", "1.2.3.4,", "g,1.2.3.4"]),
    ),
    *(st.sampled_from(["1" * 40, "1" * 41, "1" * 40 + ",", "1" * 41 + ",é", "1.2.3.4;5"]), FREE),
)
FIELDS = (
    *(LOG_IDS, TIMES, IDS, IDS, IDS),
    st.one_of(texts("0aZ", 18), texts("0aZ-é", 4), st.sampled_from(["1" * 16, "1" * 17])),
    st.one_of(texts(HEX + "-", 42), texts("aZ-é _", 4), st.sampled_from(["a" * 40, "a" * 41])),
    *(FREE, FREE, FREE, ADDRESSES),
)


@st.composite
def any_lines(draw: st.DrawFn) -> bytes:
    """A usual line in which some fields are anything, or left out, or further ones, or one character is changed."""
    fields = EDGE.decode().strip("\n").split("\t")
    for place in draw(st.lists(st.integers(0, len(FIELDS) - 1), max_size=3)):
        fields[place] = draw(FIELDS[place])
    if draw(st.integers(0, 3)) == 0:
        fields += draw(st.lists(FREE, max_size=3))
    if draw(st.integers(0, 9)) == 0:
        del fields[draw(st.integers(0, len(fields) - 1))]
    text = "\t".join(fields)
    if draw(st.integers(0, 4)) == 0:
        place = draw(st.integers(0, len(text) - 1))
        text = text[:place] + draw(st.sampled_from("\t \x7f\0é0:.,-xTZ")) + text[place + 1 :]
    return text.encode() + draw(st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"]))


@settings(max_examples=120, deadline=None)
@given(st.lists(any_lines(), min_size=8, max_size=40), st.sampled_from([{}, {"5": "Europe/Paris"}]))
def test_what_is_read_by_position_is_what_sql_reads(
    con: duckdb.DuckDBPyConnection, some: list[bytes], zones: dict[str, str]
) -> None:
    lines = part_lines(b"".join([EDGE, *some, EDGE]))
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
    lines = part_lines(bytes([*EDGE, *data, *EDGE]))
    parse = ParseSettings(NOW)
    exact = by_sql(lines, parse, con)
    for number, row in by_position(lines, parse, con).items():
        assert row == exact[number]


def test_usual_lines_are_read_by_position(con: duckdb.DuckDBPyConnection) -> None:
    """The values are those that the fields were made of; the text of what they tell is not kept."""
    rng = random.Random(3)
    made, data = {}, []
    for number in range(2, 2002):
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
        made[number] = {"server": server, "pointer": pointer, "occurred_at": at, "visitor_id": visitor}
        made[number] |= {"params": params, "ip": ip, "forwarded_for": forwarded}
        made[number] |= dict(zip(("message_id", "delivery_id", "url_id"), ids, strict=True))
    read = by_position(part_lines(b"".join([EDGE, *data, EDGE])), ParseSettings(NOW), con)
    assert {number: {name: row[name] for name in made[number]} for number, row in read.items()} == made
    kept = ("log_id", "logged_at_text", "message_id_text", "delivery_id_text", "url_id_text", "time_flag", "extra")
    assert all(row[name] is None for row in read.values() for name in kept)
    assert {row["terminator"] for row in read.values()} == {"\n"}
