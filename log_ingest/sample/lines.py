"""Turns events into the bytes of tracking-log lines, many at a time.

Belongs here: the line format of the redirection server. Does not: what happens (behaviour), which file a line goes
to (writer). Every value is written into one byte matrix and the unused cells are masked out: per-line Python would be
slower than everything else together.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from log_ingest.sample import user_agents
from log_ingest.sample.behaviour import BLANK, FORWARDED_POOL_SIZE, IP_POOL_SIZE, KIND_LETTERS
from log_ingest.sample.texts import (
    LOWER,
    UPPER,
    UUID_WIDTH,
    addresses,
    hex_cells,
    hops,
    significant,
    strings,
    uuid_cells,
)

BLOCK_LINES = 65_536
"""Callers pass at most this many events at once: it bounds the memory of the matrix."""

_TAB, _ZERO = ord("\t"), ord("0")

# Columns of the matrix: log id, time, three ids, forced delivery, visitor; a tab after each.
_TIME = 20
_MESSAGE = _TIME + 24
_DELIVERY = _MESSAGE + 9
_URL = _DELIVERY + 9
_FORCED = _URL + 9
_VISITOR = _FORCED + 2
_WIDTH = _VISITOR + 37


class LineFormatter:
    """Formats events as tracking-log lines; holds the pools of repeated texts."""

    def __init__(self, params: tuple[str, ...], rng: np.random.Generator) -> None:
        """params: what the events' params refer to. Draws the pools of addresses and forwarded-for chains from rng."""
        self._kinds = pa.array([f"{letter}\t" for letter in KIND_LETTERS])
        self._params = pa.array([f"{text}\t" for text in params])
        self._agents = pa.array([f"{agent.text}\t" for agent in user_agents.AGENTS])
        self._ips = pa.array(addresses(IP_POOL_SIZE, rng))
        chains = [_chain(number, rng) for number in range(FORWARDED_POOL_SIZE)]
        self._tails = pa.array([f"{chain}\n" for chain in chains])

    def format(self, server: str, first_pointer: int, events: npt.NDArray[np.void]) -> memoryview:
        """The lines of `events`, each ended by a newline; pointers rise by one from first_pointer.

        At most BLOCK_LINES events.
        """
        head = _head(server, first_pointer, events)
        lines = pc.binary_join_element_wise(
            head,
            self._kinds.take(pa.array(events["kind"])),
            self._params.take(pa.array(events["params"])),
            self._agents.take(pa.array(events["agent"])),
            self._ips.take(pa.array(events["ip"])),
            self._tails.take(pa.array(events["forwarded"])),
            "",
        )
        offsets = np.frombuffer(lines.buffers()[1], dtype=np.int32)
        return memoryview(lines.buffers()[2])[: int(offsets[len(lines)])]


def _head(server: str, first_pointer: int, events: npt.NDArray[np.void]) -> pa.Array:
    """Fields 1 to 7, each followed by its tab, as one Arrow string per event."""
    size = len(events)
    cells = np.full((size, _WIDTH), _TAB, dtype=np.uint8)
    used = np.ones((size, _WIDTH), dtype=bool)

    cells[:, :3] = np.frombuffer(f"{server}0x".encode(), dtype=np.uint8)
    pointers = np.arange(first_pointer, first_pointer + size, dtype=np.uint64)
    cells[:, 3:19] = hex_cells(pointers, 16, UPPER)
    _write_times(cells, used, events["occurred_ms"])
    for column, name in ((_MESSAGE, "message"), (_DELIVERY, "delivery"), (_URL, "url")):
        _write_id(cells[:, column : column + 8], used[:, column : column + 8], events[name])
    cells[:, _FORCED] = _ZERO

    cells[:, _VISITOR : _VISITOR + UUID_WIDTH] = uuid_cells(events["visitor"])
    used[:, _VISITOR : _VISITOR + UUID_WIDTH] = (events["visitor"] != 0)[:, None]

    return strings(cells, used)


def _write_times(cells: npt.NDArray[np.uint8], used: npt.NDArray[np.bool_], moments_ms: npt.NDArray[np.int64]) -> None:
    """`2024-05-02T08:00:01.25`: a third fractional digit is written only where it is not 0."""
    days, in_day = np.divmod(moments_ms, 86_400_000)
    unique_days, which = np.unique(days, return_inverse=True)
    texts = np.datetime_as_string(unique_days.astype("datetime64[D]"))
    day_cells = np.array([list(text.encode()) for text in texts.tolist()], dtype=np.uint8)
    cells[:, _TIME : _TIME + 10] = day_cells.reshape(-1, 10)[which]
    seconds, milliseconds = np.divmod(in_day.astype(np.int32), 1000)
    minutes, second = np.divmod(seconds, 60)
    hour, minute = np.divmod(minutes, 60)
    for offset, mark, value in ((10, "T", hour), (13, ":", minute), (16, ":", second)):
        cells[:, _TIME + offset] = ord(mark)
        cells[:, _TIME + offset + 1] = _ZERO + value // 10
        cells[:, _TIME + offset + 2] = _ZERO + value % 10
    cells[:, _TIME + 19] = ord(".")
    cells[:, _TIME + 20] = _ZERO + milliseconds // 100
    cells[:, _TIME + 21] = _ZERO + milliseconds // 10 % 10
    cells[:, _TIME + 22] = _ZERO + milliseconds % 10
    used[:, _TIME + 22] = milliseconds % 10 != 0


def _write_id(cells: npt.NDArray[np.uint8], used: npt.NDArray[np.bool_], ids: npt.NDArray[np.int64]) -> None:
    """Hex without leading zeros; BLANK leaves the field empty."""
    values = np.where(ids == BLANK, 0, ids).astype(np.uint64)
    digits = hex_cells(values, 8, LOWER)
    cells[:] = digits
    used[:] = significant(digits)
    used[:, 7] = ids != BLANK


def _chain(number: int, rng: np.random.Generator) -> str:
    """A forwarded-for chain with the separator in front: number 0 is none, then tab and comma in turn."""
    if number == 0:
        return ""
    return ("\t" if number % 2 else ",") + hops(number, rng)
