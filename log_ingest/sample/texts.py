"""Texts that several formats of the sample share, many at a time: hex numbers, visitor cookies, addresses.

Belongs here: how a value is spelled, as byte cells or Arrow strings. Does not: the lines they stand in (lines,
access_lines).
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

LOWER = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
UPPER = np.frombuffer(b"0123456789ABCDEF", dtype=np.uint8)
UUID_WIDTH = 36
_UUID_DASHES = (8, 13, 18, 23)
_UUID_DIGITS = [column for column in range(UUID_WIDTH) if column not in _UUID_DASHES]
_ZERO, _DASH = ord("0"), ord("-")


def hex_cells(values: npt.NDArray[np.uint64], width: int, alphabet: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(n, width) matrix of the lowest `width` hex digits (an even number) of each value."""
    pairs = values.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 8 - width // 2 :]
    cells = np.empty((len(values), width), dtype=np.uint8)
    cells[:, 0::2] = alphabet[pairs >> 4]
    cells[:, 1::2] = alphabet[pairs & 15]
    return cells


def significant(digits: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Which hex cells are written: from the first that is not 0; the last is written even when it is."""
    used = np.logical_or.accumulate(digits != _ZERO, axis=1)
    used[:, -1] = True
    return used


def hex_texts(values: npt.NDArray[np.int64], alphabet: npt.NDArray[np.uint8] = LOWER) -> pa.Array:
    """Hex without leading zeros, of 8 digits at most; negative values (an empty field) read 0."""
    cells = hex_cells(np.maximum(values, 0).astype(np.uint64), 8, alphabet)
    return strings(cells, significant(cells))


def uuid_cells(visitors: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """(n, UUID_WIDTH) matrix: different visitors have different cookies."""
    cells = np.empty((len(visitors), UUID_WIDTH), dtype=np.uint8)
    cells[:, _UUID_DASHES] = _DASH
    high = _mixed(visitors, 0x9E3779B97F4A7C15)
    low = _mixed(visitors, 0xD1B54A32D192ED03)
    # Version 4, variant 1: what a browser cookie made by a server looks like.
    high = (high & np.uint64(0xFFFFFFFFFFFF0FFF)) | np.uint64(0x4000)
    low = (low & np.uint64(0x3FFFFFFFFFFFFFFF)) | np.uint64(0x8000000000000000)
    cells[:, _UUID_DIGITS] = np.hstack([hex_cells(high, 16, LOWER), hex_cells(low, 16, LOWER)])
    return cells


def uuid_texts(visitors: npt.NDArray[np.uint64]) -> pa.Array:
    """The cookies as strings; empty for visitor 0."""
    cells = uuid_cells(visitors)
    used = np.broadcast_to((visitors != 0)[:, None], cells.shape)
    return strings(cells, used)


def strings(cells: npt.NDArray[np.uint8], used: npt.NDArray[np.bool_]) -> pa.Array:
    """One Arrow string per row of `cells`, of its used cells. At most 2 GB."""
    offsets = np.zeros(len(cells) + 1, dtype=np.int32)
    np.cumsum(used.sum(axis=1), out=offsets[1:])
    return pa.StringArray.from_buffers(len(cells), pa.py_buffer(offsets), pa.py_buffer(cells[used]))


def addresses(size: int, rng: np.random.Generator) -> list[str]:
    """IP addresses, one in ten of them IPv6, some in the short form."""
    octets = rng.integers(1, 255, (size, 4)).tolist()
    groups = rng.integers(0, 1 << 16, (size, 6)).tolist()
    texts = []
    for number, (four, six) in enumerate(zip(octets, groups, strict=True)):
        if number % 10:
            texts.append(".".join(map(str, four)))
        elif number % 20:
            texts.append(f"2001:db8::{six[0]:x}:{six[1]:x}")
        else:
            texts.append("2001:db8:" + ":".join(f"{group:x}" for group in six))
    return texts


def hops(number: int, rng: np.random.Generator) -> str:
    """A chain of one to three forwarding addresses."""
    return ", ".join(f"10.{a}.{b}.{c}" for a, b, c in rng.integers(0, 255, (1 + number % 3, 3)).tolist())


def _mixed(keys: npt.NDArray[np.uint64], salt: int) -> npt.NDArray[np.uint64]:
    """The splitmix64 finaliser: one-to-one, so different visitors stay different."""
    mixed = keys + np.uint64(salt)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
