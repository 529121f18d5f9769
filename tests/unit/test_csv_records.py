"""Records of CSV files over arbitrary bytes: every one becomes a row or is given back with its place and bytes."""

import csv
import io
from collections.abc import Iterator
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from log_ingest.formats.csv_records import read_records

PIECES = [b"a", b",", b'"', b'""', b"\n", b"\r\n", b"\r", b" ", b"\xff", b'"x"', b'"y\nz"', b'5" tab']


def cut(data: bytes, places: list[int]) -> Iterator[bytes]:
    """The same bytes in parts that end anywhere."""
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return (data[start:end] for start, end in pairwise(bounds) if end > start)


def rows_of(data: bytes, places: list[int]) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for block in read_records(cut(data, places), "file"):
        assert not block.bad
        found += [tuple(row[name] for name in ("in_a", "in_b")) for row in block.table.to_pylist()]
    return found


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40), st.lists(st.integers(0, 1000), max_size=3))
def test_every_record_is_a_row_or_comes_back(parts: list[bytes], places: list[int]) -> None:
    data = b"a,b\n" + b"".join(parts)
    covered = 0
    for block in read_records(cut(data, places), "file"):
        assert block.records == block.table.num_rows + len(block.bad)
        for record in block.bad:
            assert data[record.byte_offset :][: len(record.raw)] == record.raw
        for offset, (start, end) in block.starts.items():
            assert data[offset:][: end - start] == block.data[start:end]
            covered += end - start
        covered += sum(len(record.raw) for record in block.bad)
    body = data[4:]
    outside = len(body.replace(b"\r", b"").replace(b"\n", b""))
    assert covered >= outside, "bytes that are in no record"


TEXTS = st.lists(st.sampled_from(["a", ",", ";", '"', "\n", "\r\n", " ", "п", "ÿ", "é", "0"]), max_size=6).map("".join)


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.tuples(TEXTS, TEXTS), max_size=8), st.lists(st.integers(0, 1000), max_size=3),
    st.sampled_from(["\n", "\r\n"]), st.booleans(), st.booleans(),
)  # fmt: skip
def test_what_a_csv_writer_wrote_comes_back(
    rows: list[tuple[str, str]], places: list[int], end: str, has_final_end: bool, has_mark: bool
) -> None:
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
    text = stream.getvalue() if has_final_end else stream.getvalue().removesuffix(end)
    assert rows_of((b"\xef\xbb\xbf" if has_mark else b"") + text.encode(), places) == rows


WORDS = st.text('a "5п¿', max_size=6).filter(lambda text: not text.startswith('"'))


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS), max_size=8), st.lists(st.integers(0, 1000), max_size=3))
def test_quotes_inside_unquoted_values_are_text(rows: list[tuple[str, str]], places: list[int]) -> None:
    """As Python's reader has them too: 24" screen,27" screen."""
    data = "a,b\n" + "".join(f"{first},{second}\n" for first, second in rows)
    assert list(csv.reader(io.StringIO(data, newline=""))) == [["a", "b"], *map(list, rows)]
    assert rows_of(data.encode(), places) == rows
