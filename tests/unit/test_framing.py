"""Framing against Python's own universal newlines, over arbitrary bytes cut anywhere."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from log_ingest import framing
from log_ingest.framing import TERMINATORS, Framer, Lines, text_array, unfit

BYTES = st.lists(
    st.sampled_from([b"a", b"bcdefghijklmnop", b"\t", b"\r", b"\n", b"\r\n", b"\0", b"\xff", "é".encode()])
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(bounds)]


@settings(max_examples=1000, deadline=None)
@given(BYTES, st.lists(st.integers(0, 1000), max_size=4), st.booleans())
def test_every_byte_comes_back_in_lines(parts: list[bytes], places: list[int], sealed: bool) -> None:
    data = b"".join(parts)
    framer = Framer(cut(data, places), 0, 1, is_sealed=sealed)
    rebuilt, lines, numbers = b"", [], []
    for block in framer:
        assert block.offset == len(rebuilt)
        for index in range(len(block)):
            rebuilt += block.raw(index) + TERMINATORS[block.terminators[index]].encode()
            lines.append(block.raw(index))
            numbers.append(block.first_line + index)
    assert rebuilt + framer.held == data
    assert numbers == list(range(1, len(lines) + 1))
    expected = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    if sealed:
        assert framer.held == b""
        assert lines == (expected[:-1] if expected[-1] == b"" else expected)
    else:
        assert lines == expected[: len(lines)]
        assert b"\n" not in framer.held


@settings(max_examples=300, deadline=None)
@given(BYTES, st.lists(st.integers(0, 1000), max_size=4))
def test_an_over_long_line_comes_as_pieces_and_counts_once(parts: list[bytes], places: list[int]) -> None:
    data = b"".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(framing, "MAX_LINE_BYTES", 12)
        framer = Framer(cut(data, places), 0, 1, is_sealed=True)
        blocks = list(framer)
    rebuilt = b"".join(block.data for block in blocks)
    counted = sum(len(block) for block in blocks if not block.is_piece or block.is_first_piece)
    assert rebuilt == data
    expected = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    assert counted == len(expected) - (expected[-1] == b"")


@settings(max_examples=300, deadline=None)
@given(BYTES)
def test_only_fit_lines_become_text(parts: list[bytes]) -> None:
    data = b"".join(parts) + b"\n"
    for block in Framer([data], 0, 1, is_sealed=True):
        reasons = unfit(block)
        for index in range(len(block)):
            raw = block.raw(index)
            is_fit = raw != b"" and b"\0" not in raw and raw.decode("utf-8", "replace").count("\ufffd") == 0
            assert is_fit == (index not in reasons), raw
        keep = np.array([index for index in range(len(block)) if index not in reasons], int)
        if len(keep):
            lines = Lines(block.data, block.starts[keep], block.ends[keep])
            assert text_array(lines).to_pylist() == [block.raw(index).decode() for index in keep]
