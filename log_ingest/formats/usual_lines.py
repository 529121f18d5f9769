"""trackinglogd lines of the usual form, read by position with NumPy: thousands of lines in each step.

Belongs here: telling which lines are of that form, and the values of their fields; of what is read here, the SQL of
formats.trackinglogd says the same (tests/unit/test_usual_lines.py). Does not: any line that is invalid, or valid and
rare. They are left to the SQL, which alone says what is refused and why.

Usual are: a log id of 16 digits, a time of the years 1000 to 2999 with one to six decimals, ids of up to 16 digits and
63 bits, up to 16 characters of forced delivery, up to 40 of visitor and of address, and 11 or 12 fields.
"""

from dataclasses import dataclass
from functools import reduce

import numpy as np
import pyarrow as pa

from log_ingest.framing import Lines

_TAB, _ZERO, _X, _DASH, _T, _COLON, _POINT, _COMMA = b"\t0x-T:.,"
_LOG_ID, _TIME, _ID, _NAME = 19, 26, 16, 40
"""Most bytes of a log id, of a time, of an id or forced delivery, of a visitor or address."""
_REACH = _LOG_ID + 1 + _TIME
"""Bytes that are looked at before or behind a place, whatever lies there."""
_SECONDS, _MILLISECONDS = 19, 23
"""Bytes of a time up to its seconds, and of the usual one."""
_TOLD_BY_VALUES = ("log_id", "logged_at_text", "message_id_text", "delivery_id_text", "url_id_text")
_AS_WRITTEN = ("forced_delivery_id", "visitor_id", "content_kind", "params", "user_agent", "ip")

_INVALID, _UPPER, _LOWER, _VALUE = 0x80, 0x40, 0x20, 0x0F
_NOTHING = 0
"""NUL, which no line holds, stands for what is not of a field."""


def _hex_digits() -> bytes:
    table = bytearray([_INVALID] * 256)
    table[_NOTHING] = 0
    for value in range(16):
        table[ord(f"{value:X}")] = value | (_UPPER if value > 9 else 0)
        table[ord(f"{value:x}")] = value | (_LOWER if value > 9 else 0)
    return bytes(table)


_HEX = _hex_digits()
"""By byte: the value of a hex digit, and whether it is a letter."""


def _each(characters: np.ndarray, table: bytes) -> np.ndarray:
    """What the table says of each byte: as indexing with an array would, in a third of the time."""
    return np.frombuffer(characters.tobytes().translate(table), np.uint8).reshape(characters.shape)


def _others(characters: bytes) -> bytes:
    """By byte: 1 for those that are not among the characters."""
    return bytes(byte not in characters and byte != _NOTHING for byte in range(256))


_ALPHANUMERIC = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_NOT_ALPHANUMERIC = _others(_ALPHANUMERIC)
_NOT_VISITOR = _others(_ALPHANUMERIC + b"-")
_NOT_ADDRESS = _others(b"0123456789abcdefABCDEF.:")

_FIRST_YEAR, _LAST_YEAR = 1000, 2999
_MONTHS = np.arange(f"{_FIRST_YEAR}-01", f"{_LAST_YEAR + 1}-02", dtype="datetime64[M]").astype("datetime64[D]")
_FIRST_DAY = _MONTHS.astype(np.int64)
_DAY_COUNT = np.diff(_FIRST_DAY)
"""By month, counted from the first of these years: the day since 1970 that it begins with, and how many it has."""

_AT_ONCE = 8192
"""Lines that are read in one step: what that needs stays near the processor."""


def read_fields(lines: Lines, *, keeps_time: bool = False) -> tuple[np.ndarray, pa.Table]:
    """Which of the lines were read, ascending, and their values in columns: server, pointer, logged_at (as written),
    message_id, delivery_id, url_id and those of the fields in TRACKING_LOGS_SCHEMA but `extra`, of which there is none.

    keeps_time: the text of a time is kept even where it is the usual one.
    """
    places = range(0, len(lines), _AT_ONCE)
    found = [_read(_with_margin(lines.part(place, place + _AT_ONCE)), keeps_time) for place in places]
    read = np.concatenate([rows + place for place, (rows, _) in zip(places, found, strict=True)])
    return read, pa.concat_tables([pa.table(columns) for _, columns in found])


def _with_margin(lines: Lines) -> Lines:
    """The lines in a buffer in which nothing is nearer than _REACH to either end. Whether a line is read must depend on
    its text alone: of lines that come again the first is kept, and those that are read stand before the others.
    """
    begin, end = lines.starts[0], lines.ends[-1]
    if begin >= _REACH and end <= len(lines.data) - _REACH:
        return lines
    margin = bytes(_REACH)
    shift = _REACH - begin
    return Lines(margin + lines.data[begin:end] + margin, lines.starts + shift, lines.ends + shift)


def _read(lines: Lines, keeps_time: bool) -> tuple[np.ndarray, dict[str, pa.Array]]:
    fields = _Fields.of(lines)
    beginning = fields.first_bytes(0, _REACH)
    pointer = _Hexadecimal(beginning[:, 3:_LOG_ID])
    time, has_time = _microseconds(beginning[:, _LOG_ID + 1 :], fields.length(1))
    is_read = has_time & pointer.is_valid & (fields.length(0) == _LOG_ID)
    is_read &= (_each(beginning[:, 0], _NOT_ALPHANUMERIC) == 0) & (beginning[:, 1] == _ZERO) & (beginning[:, 2] == _X)
    # Whether the values of the first five fields tell their text, as LINE of formats.trackinglogd makes it.
    is_told = ~pointer.has_lower & (fields.length(1) == _MILLISECONDS)
    ids = {}
    for place, name in enumerate(("message_id", "delivery_id", "url_id"), 2):
        length = fields.length(place)
        number = _Hexadecimal(fields.last_bytes(place, _ID))
        is_read &= number.is_valid & (length <= _ID)
        is_told &= ~number.has_upper & (length > 0) & ((length == 1) | (fields.first_byte(place) != _ZERO))
        ids[name] = number.value
    for place, longest, others in ((5, _ID, _NOT_ALPHANUMERIC), (6, _NAME, _NOT_VISITOR)):
        is_read &= ~_any(_each(fields.last_bytes(place, longest), others)) & (fields.length(place) <= longest)
    is_read &= _begins_with_address(fields.first_bytes(10, _NAME), fields.length(10))

    kept = np.flatnonzero(is_read)
    text, is_told = fields.only(kept), is_told[kept]
    every, untold = text.every(), text.every(is_told)
    columns = {
        "server": _characters(beginning[kept, 0]),
        "pointer": pa.array(pointer.value[kept]),
        "logged_at": pa.array(time[kept].view("datetime64[us]")),
        **{name: pa.array(value[kept]) for name, value in ids.items()},
        **{name: text.column(place, untold) for place, name in enumerate(_TOLD_BY_VALUES)},
        **{name: text.column(place, every) for place, name in enumerate(_AS_WRITTEN, len(_TOLD_BY_VALUES))},
        "forwarded_for": text.column(11, text.every(~text.has_twelfth)),
    }
    if keeps_time:
        columns["logged_at_text"] = text.column(1, every)
    return text.rows, columns


@dataclass(frozen=True)
class _Fields:
    """The lines that have 11 or 12 fields. rows: which. bounds: by line, the places before each of its fields, and
    behind the last one; of 11 fields the twelfth is empty.
    """

    data: bytes
    rows: np.ndarray
    bounds: np.ndarray
    has_twelfth: np.ndarray

    @classmethod
    def of(cls, lines: Lines) -> "_Fields":
        begin, end = lines.starts[0], lines.ends[-1]
        tabs = np.flatnonzero(np.frombuffer(lines.data, np.uint8, end - begin, begin) == _TAB) + begin
        first = np.searchsorted(tabs, lines.starts)
        count = np.searchsorted(tabs, lines.ends) - first
        rows = np.flatnonzero((count == 10) | (count == 11))
        first, has_twelfth = first[rows], count[rows] == 11
        bounds = np.empty((13, len(rows)), np.int64)
        bounds[0] = lines.starts[rows] - 1
        bounds[1:11] = tabs[first + np.arange(10)[:, None]]
        bounds[12] = lines.ends[rows]
        bounds[11] = bounds[12]
        bounds[11, has_twelfth] = tabs[first[has_twelfth] + 10]
        return cls(lines.data, rows, bounds, has_twelfth)

    def only(self, kept: np.ndarray) -> "_Fields":
        if len(kept) == len(self.rows):
            return self
        return _Fields(self.data, self.rows[kept], self.bounds[:, kept], self.has_twelfth[kept])

    def length(self, place: int) -> np.ndarray:
        return self.bounds[place + 1] - self.bounds[place] - 1

    def first_byte(self, place: int) -> np.ndarray:
        """The first byte of a field; the one behind it, where it is empty."""
        return np.frombuffer(self.data, np.uint8)[self.bounds[place] + 1]

    def first_bytes(self, place: int, width: int) -> np.ndarray:
        """So many bytes from the beginning of a field on, NUL behind its end. (The first field is not cut.)"""
        found = self._bytes_from(self.bounds[place] + 1, width)
        return found if place == 0 else found & self._shown(_FIRST_SHOWN[width], place)

    def last_bytes(self, place: int, width: int) -> np.ndarray:
        """So many bytes up to the end of a field, NUL before its beginning."""
        found = self._bytes_from(self.bounds[place + 1] - width, width)
        return found & self._shown(_LAST_SHOWN[width], place)

    def _shown(self, masks: np.ndarray, place: int) -> np.ndarray:
        return np.take(masks, np.minimum(self.length(place), len(masks) - 1), axis=0)

    def _bytes_from(self, starts: np.ndarray, width: int) -> np.ndarray:
        places = np.ndarray((len(self.data) - width + 1,), f"V{width}", self.data, strides=(1,))
        return places[starts].view(np.uint8).reshape(-1, width)

    def column(self, place: int, which: pa.Array) -> pa.Array:
        """A field as text. which: as every gives it."""
        starts, ends = self.bounds[place] + 1, self.bounds[place + 1]
        if which.null_count == 0 and np.array_equal(ends - starts, np.ones(len(starts))):
            return _characters(np.frombuffer(self.data, np.uint8)[starts])
        offsets = np.empty(2 * len(starts), np.int32)
        offsets[0::2], offsets[1::2] = starts, np.maximum(starts, ends)
        # Every other text is what lies between two lines' fields.
        texts = pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(self.data))
        return texts.take(which)

    def every(self, is_null: np.ndarray | None = None) -> pa.Array:
        """The texts of a column: NULL where is_null."""
        return pa.array(np.arange(0, 2 * len(self.rows), 2, dtype=np.int32), mask=is_null)


_FIRST_SHOWN = {width: (np.arange(width) < np.arange(width + 1)[:, None]) * np.uint8(255) for width in (_ID, _NAME)}
"""By width and length of a field: 255 for the bytes that are of it, where it begins with the first one."""
_LAST_SHOWN = {width: np.ascontiguousarray(masks[:, ::-1]) for width, masks in _FIRST_SHOWN.items()}
"""The same where it ends with the last one."""


class _Hexadecimal:
    """Numbers of 16 hex digits, NUL for leading ones that are not written. digits: their bytes, 16 a number."""

    def __init__(self, digits: np.ndarray) -> None:
        halves = _each(digits, _HEX).view(">u8").astype(np.uint64)
        kinds = halves[:, 0] | halves[:, 1]
        self.has_upper = (kinds & _in_each_byte(_UPPER)) != 0
        self.has_lower = (kinds & _in_each_byte(_LOWER)) != 0
        halves &= _in_each_byte(_VALUE)
        # Two digits a byte, four in two bytes, eight in four.
        for shift, mask in ((4, 0x00FF00FF00FF00FF), (8, 0x0000FFFF0000FFFF), (16, 0x00000000FFFFFFFF)):
            halves = (halves | halves >> np.uint64(shift)) & np.uint64(mask)
        self.value = (halves[:, 0] << np.uint64(32) | halves[:, 1]).view(np.int64)
        self.is_valid = ((kinds & _in_each_byte(_INVALID)) == 0) & (self.value >= 0)


def _in_each_byte(bits: int) -> np.uint64:
    return np.uint64(bits * 0x0101010101010101)


def _any(flags: np.ndarray) -> np.ndarray:
    """Whether any byte of a row is not 0; rows of a multiple of eight bytes."""
    return reduce(np.bitwise_or, flags.view(np.uint64).T) != 0


def _microseconds(characters: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Times as microseconds since 1970, and whether they are such. characters: YYYY-MM-DDTHH:MM:SS.ffffff, 26 a time;
    the first `length` of them are of it.
    """
    text = np.ascontiguousarray(characters.T)
    is_valid = (length > _SECONDS + 1) & (length <= _TIME)
    for place, mark in ((4, _DASH), (7, _DASH), (10, _T), (13, _COLON), (16, _COLON), (19, _POINT)):
        is_valid &= text[place] == mark
    digits = text - np.uint8(_ZERO)
    for place in range(_SECONDS + 1, _TIME):
        digits[place] *= length > place
    for place in (*range(4), 5, 6, 8, 9, 11, 12, 14, 15, 17, 18, *range(_SECONDS + 1, _TIME)):
        is_valid &= digits[place] < 10
    century, year, month, day, hour, minute, second, *hundredths = (
        digits[place] * np.uint8(10) + digits[place + 1] for place in (0, 2, 5, 8, 11, 14, 17, 20, 22, 24)
    )
    years = century.astype(np.int64) * 100 + year - _FIRST_YEAR
    is_valid &= (years >= 0) & (years <= _LAST_YEAR - _FIRST_YEAR)
    is_valid &= (month >= 1) & (month <= 12) & (hour < 24) & (minute < 60) & (second < 60)
    months = np.where(is_valid, years * 12 + month - 1, 0)
    is_valid &= (day >= 1) & (day <= _DAY_COUNT[months])
    value = (_FIRST_DAY[months] + day - 1) * 24 + hour
    for part, scale in ((minute, 60), (second, 60), *((each, 100) for each in hundredths)):
        value = value * scale + part
    return value, is_valid


def _begins_with_address(characters: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Whether a field is an address, or an address and what follows a comma. characters: its first bytes."""
    others = _each(characters, _NOT_ADDRESS)
    has_other = _any(others)
    is_valid = ~has_other & (length <= _NAME)
    row = np.flatnonzero(has_other)
    is_valid[row] = characters[row, others[row].argmax(axis=1)] == _COMMA
    return is_valid


def _characters(codes: np.ndarray) -> pa.Array:
    """Texts of one ASCII character."""
    offsets = np.arange(len(codes) + 1, dtype=np.int32)
    return pa.StringArray.from_buffers(len(codes), pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(codes)))
