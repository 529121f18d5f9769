"""Records of CSV files over arbitrary bytes: every one becomes a row or is given back with its place and bytes."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from log_ingest.formats.csv_records import read_records

PIECES = [b"a", b",", b'"', b'""', b"\n", b"\r\n", b"\r", b" ", b"\xff", b'"x"', b'"y\nz"', b'5" tab']


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40), st.lists(st.integers(0, 1000), max_size=3))
def test_every_record_is_a_row_or_comes_back(parts: list[bytes], places: list[int]) -> None:
    data = b"a,b\n" + b"".join(parts)
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    chunks = [data[start:end] for start, end in pairwise(bounds) if end > start]
    covered = 0
    for block in read_records(iter(chunks), "file"):
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
