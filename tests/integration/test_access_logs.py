"""Access logs end to end: files of any name and compression, every byte accounted for, one event per distinct line."""

import gzip
import random
from pathlib import Path

import duckdb
import pytest
import zstandard

from log_ingest.ingest import ingest
from log_ingest.replay import replay
from tests.accesslines import access_log, hit, request
from tests.invariants import assert_accounted, assert_rerun_changes_nothing, landed

OTHERS = [request(f"/img/{n}.png", status=200, size=n) for n in range(40)]
BROKEN = [request("/r/"), request("/r/7"), "no log line"]


def hits(count: int) -> list[str]:
    return [hit(1000 + n, at=f"01/May/2024:10:{n // 60:02d}:{n % 60:02d} +0000") for n in range(count)]


def run(landing: Path, warehouse: Path):
    report = ingest(landing, warehouse, run_id="test")
    assert_accounted(warehouse)
    return report, report.totals["access_logs"]


def events(warehouse: Path) -> list[tuple]:
    """What the lines say, whatever file they came in. Sorted."""
    left_out = "file_id, source_file, line_number, byte_offset, terminator, ingested_at, site, batch_id"
    rows = f"select * exclude ({left_out}) from {landed(warehouse, 'access_logs')} order by event_key"
    return duckdb.connect().execute(rows).fetchall()


def test_every_line_is_accounted_for(landing: Path, warehouse: Path) -> None:
    lines = [*hits(30), *OTHERS, *BROKEN]
    random.Random(1).shuffle(lines)
    path = access_log(landing, "shop/access.log", *lines)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n", 20) + b"\n\xff\xfe\n" + b"half a line")
    _, totals = run(landing, warehouse)
    counted = (totals.lines, totals.accepted, totals.not_tracking, totals.quarantined, totals.blank, totals.duplicate)
    assert counted == (30 + 40 + 3 + 2, 30, 40, 4, 1, 0)
    assert totals.held_bytes == len(b"half a line")
    con = duckdb.connect()
    kept = con.execute(f"select decode(raw) from {landed(warehouse, 'set_aside')} where disposition = 'not_tracking'")
    assert sorted(line for (line,) in kept.fetchall()) == sorted(OTHERS)
    reasons = con.execute(
        f"select reason from {landed(warehouse, 'set_aside')} where disposition = 'quarantined' order by 1"
    )
    assert [reason for (reason,) in reasons.fetchall()] == [
        "invalid_utf8", "missing_id", "missing_tagid", "not_a_log_line",
    ]  # fmt: skip
    assert_rerun_changes_nothing(landing, warehouse)


def test_a_file_may_have_any_name_and_come_compressed(landing: Path, warehouse: Path) -> None:
    first, second, third = hits(90)[:30], hits(90)[30:60], hits(90)[60:]
    access_log(landing, "shop/access.log.2024-05-01", *first)
    packed = access_log(landing, "shop/2024/access_log-20240502.gz")
    packed.write_bytes(gzip.compress("".join(f"{line}\n" for line in second).encode()))
    packed = access_log(landing, "blog/access.log.3.zst")
    packed.write_bytes(zstandard.compress("".join(f"{line}\n" for line in third).encode()))
    _, totals = run(landing, warehouse)
    assert (totals.accepted, totals.files_new) == (90, 3)
    # Rotated and compressed later: the content is known.
    path = landing / "access_logs" / "shop" / "access.log.2.gz"
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in first).encode()))
    report, totals = run(landing, warehouse)
    assert (totals.files_duplicate, report.has_new) == (1, False)


def test_two_identical_lines_are_one_event(landing: Path, warehouse: Path) -> None:
    once, twice = hits(2)
    access_log(landing, "shop/a.log", once, twice, twice)
    access_log(landing, "blog/b.log", request("/x"), twice)
    _, totals = run(landing, warehouse)
    assert (totals.accepted, totals.duplicate) == (2, 2)
    access_log(landing, "shop/late.log", request("/y"), twice, hit(5000))
    _, totals = run(landing, warehouse)
    assert (totals.accepted, totals.duplicate) == (1, 1)


def test_any_order_and_split_gives_the_same_events(landing: Path, warehouse: Path, tmp_path: Path) -> None:
    lines = [*hits(60), *OTHERS, *BROKEN]
    access_log(landing, "shop/all.log", *lines)
    run(landing, warehouse)
    choose = random.Random(7)
    other, elsewhere = tmp_path / "other", tmp_path / "elsewhere"
    for round_number in range(4):
        for name in range(3):
            access_log(other, f"s{name}/{round_number}.log", *choose.sample(lines, 50))
        run(other, elsewhere)
    access_log(other, "s1/rest.log", *reversed(lines))
    run(other, elsewhere)
    assert events(elsewhere) == events(warehouse)
    assert len(events(warehouse)) == 60


def test_a_growing_file_gives_only_its_new_lines(landing: Path, warehouse: Path) -> None:
    lines = [*hits(20), *OTHERS]
    path = access_log(landing, "shop/access.log", *lines)
    whole = path.read_bytes()
    path.write_bytes(whole[:4000])
    _, first = run(landing, warehouse)
    path.write_bytes(whole)
    _, second = run(landing, warehouse)
    assert first.accepted + second.accepted == 20
    assert first.lines + second.lines == 60


@pytest.mark.parametrize("strange", ['{"request": "GET /r/?id=h1,2,3"}', "2024/05/01 10:00:00 [error] 7#7: *1 broken"])
def test_a_file_in_another_format_is_held(landing: Path, warehouse: Path, strange: str) -> None:
    access_log(landing, "shop/access.log", *hits(3))
    access_log(landing, "shop/strange.log", *(f"{strange} {n}" for n in range(40)))
    report, totals = run(landing, warehouse)
    assert (totals.accepted, totals.lines) == (3, 3)
    (problem,) = report.problems
    assert "access_logs/shop/strange.log" in problem
    assert "MTW_ACCEPT_NEW_FORMATS" in problem


def test_replay_of_access_logs_changes_nothing_without_a_fix(landing: Path, warehouse: Path) -> None:
    access_log(landing, "shop/access.log", *hits(3), *BROKEN, *OTHERS)
    run(landing, warehouse)
    report = replay(warehouse, run_id="again")
    assert (report.looked_at, report.accepted, report.still_quarantined) == (3, 0, 3)
    assert_accounted(warehouse)
