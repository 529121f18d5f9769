"""Arbitrary bytes, cuts, repetitions and orders, for every line format at once: nothing is lost, nothing comes twice.

One ingest takes a whole crowd of files, each a case of its own, so that thousands of them cost a minute.
"""

import gzip
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from log_ingest.formats.registry import LINE_FORMATS
from log_ingest.ingest import ingest
from tests.accesslines import hit, request
from tests.espevents import sendgrid
from tests.invariants import assert_accounted, assert_rerun_changes_nothing, landed, query
from tests.loglines import line

EXAMPLES = 14
FILES = 160

FOLDERS = {
    "tracking_logs": ("tracking_logs/s{}", ".log"),
    "access_logs": ("access_logs/site{}", ".log"),
    "esp_events": ("esp_events/sendgrid/{}", ".jsonl"),
}
LINE_ENDS = (b"\n", b"\n", b"\n", b"\r\n", b"\r", b"\n\n", b"\r\r\n", b"")


def good_line(source: str, number: int, rng: random.Random) -> bytes:
    """A line of the format; few numbers, so that many lines come again."""
    if source == "tracking_logs":
        return line(number, server=rng.choice("567"), url=rng.choice([1, 2, 9])).rstrip(b"\n")
    if source == "access_logs":
        target = rng.choice(["/favicon.ico", "/r/9862?tagid=home", "/r/"])
        minute = f"01/May/2024:10:{number % 60:02d}:00 +0000"
        return (hit(number, at=minute) if rng.random() < 0.5 else request(target, at=minute)).encode()
    events = [sendgrid(rng.choice(["open", "click", "bounce", "mystery"]), 1_700_000_000 + number)]
    if rng.random() < 0.3:
        events.append(sendgrid("open", 1_700_000_000 + number + 1))
    return str(events if len(events) > 1 else events[0]).replace("'", '"').encode()


def any_line(source: str, noise: list[bytes], rng: random.Random) -> bytes:
    """A good line, one with damage, or bytes that are no line at all."""
    found = good_line(source, rng.randrange(40), rng)
    if rng.random() < 0.6:
        return found
    damage = rng.choice(noise)
    at = rng.randrange(len(found) + 1)
    return rng.choice([damage, found[:at], found[at:], found[:at] + damage + found[at:], found + damage])


def crowd(noise: list[bytes], rng: random.Random) -> dict[str, bytes]:
    """Files by name; some are the whole of another, or a part of it cut anywhere."""
    files: dict[str, bytes] = {}
    for number in range(FILES):
        source = rng.choice(list(FOLDERS))
        folder, suffix = FOLDERS[source]
        name = f"{folder.format(rng.randrange(3))}/{number}{suffix}"
        known = [data for other, data in files.items() if other.startswith(source)]
        if known and rng.random() < 0.15:
            data = rng.choice(known)
            files[name] = data if rng.random() < 0.5 else data[: rng.randrange(len(data) + 1)]
            continue
        lines = (any_line(source, noise, rng) + rng.choice(LINE_ENDS) for _ in range(rng.randrange(12)))
        files[name] = b"".join(lines)
    return files


def write(landing: Path, name: str, data: bytes, *, is_packed: bool) -> None:
    path = landing / (f"{name}.gz" if is_packed else name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, 1) if is_packed else data)


def accepted(warehouse: Path) -> dict[str, list[tuple]]:
    """What the landed rows say, by source, without where they came from."""
    return {
        source: query(f"select {lines.identity} as identity from {landed(warehouse, source)} order by 1")
        for source, lines in LINE_FORMATS.items()
    }


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # an example takes seconds: to shrink one would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@example([b"\xb6", b"\xd6A\x01", b"\xfc"], 436)
@given(st.lists(st.binary(min_size=1, max_size=40), min_size=3, max_size=30), st.integers(0, 2**32))
def test_any_bytes_in_any_cut_order_and_repetition(
    tmp_path_factory: pytest.TempPathFactory, noise: list[bytes], seed: int
) -> None:
    rng = random.Random(seed)
    files = crowd(noise, rng)
    base = tmp_path_factory.mktemp("bytes")
    landing, warehouse = base / "landing", base / "warehouse"
    # First half of them, cut anywhere; then all of them whole, so that files grow, and copies under other names.
    for name, data in rng.sample(sorted(files.items()), k=len(files) // 2):
        write(landing, name, data[: rng.randrange(len(data) + 1)], is_packed=False)
    ingest(landing, warehouse, run_id="first")
    assert_accounted(warehouse)
    for name, data in files.items():
        # Sealed by being packed: plain files hold back a last line without its end, packed ones do not.
        (landing / name).unlink(missing_ok=True)
        write(landing, name, data, is_packed=True)
    for name in rng.sample(sorted(files), k=10):
        # Below the provider's folder: elsewhere a line has to say by itself whose it is.
        folder, _, file = name.rpartition("/")
        write(landing, f"{folder}/again/{file}", files[name], is_packed=True)
    ingest(landing, warehouse, run_id="second")
    assert_accounted(warehouse)
    assert_rerun_changes_nothing(landing, warehouse)

    # The same files in one run, in another order, under other names.
    elsewhere, other = base / "elsewhere", base / "other"
    for place, name in enumerate(rng.sample(sorted(files), k=len(files))):
        folder, _, file = name.rpartition("/")
        write(elsewhere, f"{folder}/{place:03d}-{file}", files[name], is_packed=True)
    ingest(elsewhere, other, run_id="only")
    assert_accounted(other)
    found, expected = accepted(warehouse), accepted(other)
    assert found == expected
    assert sum(len(rows) for rows in found.values()) > FILES, "there is something to compare"
