"""Ingest end to end on files: nothing lost, nothing twice, whatever the shape of the delivery."""

import gzip
import os
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from log_ingest.errors import IngestError
from log_ingest.files import HEAD_BYTES
from log_ingest.ingest import ingest
from log_ingest.status import collect
from tests.invariants import assert_accounted, assert_rerun_changes_nothing, events, landed
from tests.loglines import line, logs, numbered

CORRUPT = (
    b"50x000000000FD7EC86\t2017-06-24T21:00:50.96\t1f506d71\t1aeab4b6\t1af77020\t0\t"
    b"e5155671-4ab7-4ce4-a763-3b82dda6d881\th\tMozilla/5.0 (Macintosh; Intel Mac OS X 10_12_4) AppleWebKit/537.36"
    b" (KHTML, like Gecko) Chrome/55.0.2883.95 Safari/537.36\t52.46.20.64\n"
)


def run(landing: Path, warehouse: Path, **options):
    report = ingest(landing, warehouse, run_id="test", **options)
    assert_accounted(warehouse)
    return report, report.totals["tracking_logs"]


def query(sql: str) -> list[tuple]:
    return duckdb.connect().execute(sql).fetchall()


def test_the_documented_corrupt_line_is_quarantined_and_the_rest_loads(landing: Path, warehouse: Path) -> None:
    first = 0xFD7EC85
    logs(landing, "a/0x000000000FD7EC85.log", line(first), CORRUPT, line(first + 2))
    _, totals = run(landing, warehouse)
    assert (totals.accepted, totals.quarantined, totals.lines) == (2, 1, 3)
    kept = query(
        "select source_file, line_number, byte_offset, reason, raw, server, pointer"
        f" from {landed(warehouse, 'set_aside')}"
    )
    name = "tracking_logs/a/0x000000000FD7EC85.log"
    assert kept == [(name, 2, len(line(first)), "field_count", CORRUPT[:-1], "5", 0xFD7EC86)]
    assert collect(warehouse).gaps == [], "a line that came but is corrupt is not missing"


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("delivery", "1_0", "bad_delivery_id"),
        ("message", "+1", "bad_message_id"),
        ("url", "0" * 17, "bad_url_id"),
        ("message", "f" * 16, "id_out_of_range"),
        ("at", "2024-02-30T10:00:00", "bad_time"),
        ("at", "epoch", "bad_time"),
        ("visitor", "a b", "bad_visitor_id"),
        ("ip", "not an ip", "bad_ip"),
        ("agent", "nul\0", "control_character"),
    ],
)
def test_a_bad_field_is_quarantined_with_its_reason(
    landing: Path, warehouse: Path, field: str, value: str, reason: str
) -> None:
    logs(landing, "a/x.log", line(1), line(2, **{field: value}), line(3))
    _, totals = run(landing, warehouse)
    assert (totals.accepted, totals.quarantined) == (2, 1)
    assert query(f"select reason from {landed(warehouse, 'set_aside')}") == [(reason,)]


def test_ids_are_read_exactly(landing: Path, warehouse: Path) -> None:
    logs(
        landing,
        "a/x.log",
        line(1, message="ffffffff", delivery="FFFFFFFE", url="1"),
        line(2, message="", delivery="0", url="7fffffffffffffff"),
        line(3, ip="10.0.0.1\t1.2.3.4, 5.6.7.8"),
        line(4, ip="10.0.0.1,1.2.3.4").replace(b"\n", b"\r\n"),
    )
    run(landing, warehouse)
    rows = query(
        "select message_id, delivery_id, url_id, ip, forwarded_for, terminator"
        f" from {landed(warehouse, 'tracking_logs')} order by pointer"
    )
    assert rows[0][:3] == (4294967295, 4294967294, 1)
    assert rows[1][:3] == (0, 0, 2**63 - 1)
    assert rows[2][3:] == ("10.0.0.1", "1.2.3.4, 5.6.7.8", "\n")
    assert rows[3][3:] == ("10.0.0.1,1.2.3.4", None, "\r\n")


def test_copies_are_known_by_content(landing: Path, warehouse: Path) -> None:
    lines = numbered(200)
    logs(landing, "a/one.log", *lines)
    logs(landing, "b/renamed.log", *lines)
    run(landing, warehouse)
    logs(landing, "c/later.log.gz", gzip.compress(b"".join(lines)))
    logs(landing, "c/later.log.zst", zstandard.compress(b"".join(lines)))
    report, totals = run(landing, warehouse)
    assert not report.has_new
    assert totals.files_duplicate == 2
    assert len(events(warehouse)) == 200
    assert_rerun_changes_nothing(landing, warehouse)


def test_a_growing_file_gives_only_its_new_whole_lines(landing: Path, warehouse: Path) -> None:
    lines = numbered(300)
    data = b"".join(lines)
    path = logs(landing, "a/0x000000000FD7E000.log", data[:10_000])
    _, totals = run(landing, warehouse)
    whole = data[:10_000].count(b"\n")
    held = 10_000 - data[:10_000].rfind(b"\n") - 1
    assert (totals.accepted, totals.held_bytes) == (whole, held)
    path.write_bytes(data)
    _, totals = run(landing, warehouse)
    assert (totals.lines, totals.accepted, totals.held_bytes) == (300 - whole, 300 - whole, 0)
    assert_rerun_changes_nothing(landing, warehouse)


def test_an_unfinished_last_line_is_held_then_sealed(landing: Path, warehouse: Path) -> None:
    logs(landing, "a/0x0000000000000001.log", line(1), line(2)[:-5])
    _, totals = run(landing, warehouse)
    assert (totals.accepted, totals.quarantined) == (1, 0)
    assert [name for name, _ in collect(warehouse).held_files] == ["tracking_logs/a/0x0000000000000001.log"]
    _, totals = run(landing, warehouse)
    assert totals.lines == 0
    logs(landing, "a/0x0000000000000003.log", line(3))
    _, totals = run(landing, warehouse)
    assert (totals.accepted, totals.quarantined) == (1, 1)
    assert collect(warehouse).held_files == []
    assert query(f"select reason, raw from {landed(warehouse, 'set_aside')}") == [("unterminated", line(2)[:-5])]


def test_an_unfinished_last_line_is_sealed_after_a_grace_time(landing: Path, warehouse: Path) -> None:
    logs(landing, "a/x.log", line(1), line(2)[:-5])
    run(landing, warehouse)
    _, totals = run(landing, warehouse, seal_after=timedelta(0))
    assert (totals.lines, totals.quarantined) == (1, 1)


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_held_line_is_sealed_where_its_file_was_renamed(landing: Path, warehouse: Path, is_packed: bool) -> None:
    path = logs(landing, "a/x.log", line(1), line(2)[:-5])
    run(landing, warehouse)
    if is_packed:
        logs(landing, "a/x-20240501.log.gz", gzip.compress(path.read_bytes()))
        _, totals = run(landing, warehouse)
        assert totals.lines == 0, "the log itself may still grow"
        path.unlink()
    else:
        path.rename(path.with_name("x-20240501.log"))
        logs(landing, "a/x.log", line(3))
        run(landing, warehouse)
        _, totals = run(landing, warehouse, seal_after=timedelta(0))
    run(landing, warehouse)
    assert collect(warehouse).held_files == []
    assert query(f"select reason, raw from {landed(warehouse, 'set_aside')}") == [("unterminated", line(2)[:-5])]
    assert_accounted(warehouse)
    assert_rerun_changes_nothing(landing, warehouse)


@pytest.mark.parametrize("how", ["newer pointer", "grace time", "two names in one run"])
@pytest.mark.parametrize("packed", [bytes, gzip.compress])
def test_a_line_that_was_sealed_too_early_is_read_anew_when_its_file_grows(
    landing: Path, warehouse: Path, how: str, packed: Callable[[bytes], bytes]
) -> None:
    """A copy under way looks as if it had ended: with a newer file beside it, or because it stood still."""
    suffix = ".log.gz" if packed is gzip.compress else ".log"
    lines = numbered(600)
    data = b"".join(lines)
    cut = len(data) - len(lines[-1]) - 5
    assert cut > HEAD_BYTES
    logs(landing, f"a/0x0000000000000001{suffix}", packed(data[:cut]))
    if how != "grace time":
        logs(landing, "a/0x000000000FFFFFFF.log", line(0xFFFFFFF))
    if how == "two names in one run":
        logs(landing, f"b/whole{suffix}", packed(data))
    else:
        run(landing, warehouse)
        run(landing, warehouse, seal_after=timedelta(0))
        found = query(f"select line_number, reason, raw from {landed(warehouse, 'set_aside')}")
        assert found == [(599, "unterminated", lines[-2][:-5])]
        # More of it, and still no end: as long as nothing else comes, it is one line.
        logs(landing, f"a/0x0000000000000001{suffix}", packed(data[: cut + 3]))
        run(landing, warehouse)
        logs(landing, f"a/0x0000000000000001{suffix}", packed(data))
    run(landing, warehouse)
    assert_accounted(warehouse)
    assert query(f"select count(*) from {landed(warehouse, 'set_aside')}") == [(0,)]
    whole = f"{landed(warehouse, 'tracking_logs')} where source_file like '%0001{suffix}'"
    assert query(f"select count(*), count(distinct line_number), max(line_number) from {whole}") == [(600, 600, 600)]
    assert len(events(warehouse)) == 600 + (how != "grace time")
    assert_rerun_changes_nothing(landing, warehouse)


def test_a_file_that_held_nothing_whole_is_the_same_file_when_it_grows(landing: Path, warehouse: Path) -> None:
    logs(landing, "a/x.log", line(1)[:-5])
    run(landing, warehouse)
    logs(landing, "a/x.log", line(1))
    run(landing, warehouse)
    assert collect(warehouse).held_files == []
    assert len(events(warehouse)) == 1
    assert_accounted(warehouse)


@pytest.mark.parametrize("is_first", [True, False])
def test_a_copy_of_the_whole_lines_leaves_alone_what_another_file_holds(
    landing: Path, warehouse: Path, is_first: bool
) -> None:
    lines = numbered(50)
    whole, half = b"".join(lines[:48]), lines[48][:-5]
    copy = logs(landing, f"{'a' if is_first else 'c'}/x.log.gz", gzip.compress(whole))
    path = logs(landing, "b/x.log", whole, half)
    run(landing, warehouse)
    for _ in range(2):
        assert [size for _, size in collect(warehouse).held_files] == [len(half)]
        assert_accounted(warehouse)
        run(landing, warehouse)
    assert_rerun_changes_nothing(landing, warehouse)
    path.write_bytes(b"".join(lines[:49]) + lines[49][:-5])
    run(landing, warehouse)
    assert len(events(warehouse)) == 49
    path.write_bytes(b"".join(lines[:49]))  # it has shrunk: nobody holds anything
    copy.unlink()
    run(landing, warehouse)
    assert collect(warehouse).held_files == []
    assert_accounted(warehouse)
    assert_rerun_changes_nothing(landing, warehouse)


def test_rotation_and_replaced_content_decide_by_content(landing: Path, warehouse: Path) -> None:
    lines = numbered(500)
    path = logs(landing, "a/current.log", *lines[:200])
    run(landing, warehouse)
    path.rename(path.with_name("current.log.1.log"))
    with path.with_name("current.log.1.log").open("ab") as stream:
        stream.write(b"".join(lines[200:250]))
    logs(landing, "a/current.log", *lines[240:500])
    _, totals = run(landing, warehouse)
    assert len(events(warehouse)) == 500
    assert totals.duplicate == 10
    assert_rerun_changes_nothing(landing, warehouse)


@pytest.mark.parametrize("damage", ["truncated", "checksum", "garbage"])
@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_nothing_of_a_broken_archive_is_taken_until_it_is_mended(
    landing: Path, warehouse: Path, kind: str, damage: str
) -> None:
    data = b"".join(numbered(2000))
    whole = gzip.compress(data) if kind == "gz" else zstandard.ZstdCompressor(write_checksum=True).compress(data)
    broken = {
        "truncated": whole[:-20],
        "checksum": whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:] if kind == "gz" else whole[:-1] + b"\0",
        "garbage": whole + b"garbage",
    }[damage]
    path = logs(landing, f"a/x.log.{kind}", broken)
    logs(landing, "b/good.log", line(1, server="6"))
    report, totals = run(landing, warehouse)
    assert [problem.split(":")[0] for problem in report.problems] == [f"tracking_logs/a/x.log.{kind}"]
    assert totals.accepted == 1
    path.write_bytes(whole)
    report, totals = run(landing, warehouse)
    assert (report.problems, totals.accepted) == ([], 2000)


def test_every_member_and_frame_is_read(landing: Path, warehouse: Path) -> None:
    lines = numbered(40)
    logs(landing, "a/x.log.gz", gzip.compress(b"".join(lines[:10])) + gzip.compress(b"".join(lines[10:20])))
    logs(landing, "a/x.log.zst", zstandard.compress(b"".join(lines[20:30])) + zstandard.compress(b"".join(lines[30:])))
    run(landing, warehouse)
    assert len(events(warehouse)) == 40


def test_same_pointer_on_two_servers_or_with_another_payload_is_two_events(landing: Path, warehouse: Path) -> None:
    logs(landing, "a/x.log", line(1), line(1, server="6"), line(1, url=2), line(1))
    _, totals = run(landing, warehouse)
    assert (totals.accepted, totals.duplicate) == (3, 1)


def test_gaps_name_the_missing_pointers_and_the_times_around(landing: Path, warehouse: Path) -> None:
    logs(landing, "a/x.log", line(10, at="2024-05-01T10:00:00"), line(14, at="2024-05-01T10:05:00"))
    run(landing, warehouse)
    (gap,) = collect(warehouse).gaps
    assert (gap.server, gap.first_missing_pointer, gap.last_missing_pointer, gap.missing_count) == ("5", 11, 13, 3)
    assert (gap.before_at, gap.after_at) == ("2024-05-01T10:00:00.000000", "2024-05-01T10:05:00.000000")
    logs(landing, "a/late.log", line(11), line(12), line(13))
    run(landing, warehouse)
    assert collect(warehouse).gaps == []


def test_server_time_zones_and_their_edges(landing: Path, warehouse: Path) -> None:
    times = ["2024-03-31T02:30:00", "2024-10-27T02:30:00", "2024-07-01T12:00:00"]
    logs(landing, "a/x.log", *(line(n, at=at) for n, at in enumerate(times)), line(9, server="6", at=times[2]))
    run(landing, warehouse, server_time_zones={"5": "Europe/Paris"})
    rows = query(
        f"select server, strftime(occurred_at, '%m-%d %H:%M'), time_flag from {landed(warehouse, 'tracking_logs')}"
        " order by server, pointer"
    )
    assert [row[2] for row in rows] == ["nonexistent", "ambiguous", None, None]
    assert rows[2][:2] == ("5", "07-01 10:00")
    assert rows[3][:2] == ("6", "07-01 12:00")


def test_impossible_clocks_are_kept_and_flagged(landing: Path, warehouse: Path) -> None:
    logs(landing, "a/x.log", line(1, at="1970-01-01T00:00:00"), line(2, at="2999-01-01T00:00:00"), line(3))
    run(landing, warehouse)
    flags = query(f"select time_flag from {landed(warehouse, 'tracking_logs')} order by pointer")
    assert flags == [("far_past",), ("far_future",), (None,)]


def test_odd_directory_entries_and_names(landing: Path, warehouse: Path) -> None:
    logs(landing, "we'ird [1]*?\n $(x).log", line(1))
    folder = landing / "tracking_logs"
    os.mkfifo(folder / "pipe.log")
    (folder / "out.log").symlink_to("/etc/hostname")
    (folder / "in.log").symlink_to(folder / "we'ird [1]*?\n $(x).log")
    (folder / "gone.log").symlink_to(folder / "nothing")
    report, totals = run(landing, warehouse)
    assert totals.accepted == 1
    assert {problem.split(":")[0].rsplit("/", 1)[1] for problem in report.problems} == {
        "pipe.log",
        "out.log",
        "gone.log",
    }


def report_of(rows: list[tuple]) -> list[tuple[str, str]]:
    return [(row[1], row[2]) for row in rows]


def test_what_a_rebuild_reads_is_as_of_the_newest_batch(landing: Path, warehouse: Path) -> None:
    """Without a batch nothing is published: a copy or a damaged file that comes alone must not make mtw verify call the
    published version wrong."""
    logs(landing, "a/x.log", line(1))
    run(landing, warehouse)
    tables = sorted((warehouse / "landed").glob("ledger_*.parquet"))
    before = {path.name: path.read_bytes() for path in tables}
    logs(landing, "b/x.log", line(1))
    logs(landing, "a/y.log.gz", b"no archive")
    run(landing, warehouse)
    assert before and {path.name: path.read_bytes() for path in tables} == before
    assert [name for name, _ in collect(warehouse).problem_files] == ["tracking_logs/a/y.log.gz"]
    logs(landing, "a/z.log", line(2))
    run(landing, warehouse)
    files = f"read_parquet('{warehouse}/landed/ledger_files.parquet')"
    assert query(f"select sum(copy_count) from {files}") == [(1,)]
    assert query(f"select source_file from read_parquet('{warehouse}/landed/ledger_problems.parquet')") == [
        ("tracking_logs/a/y.log.gz",)
    ]


def test_what_the_last_look_refused_is_remembered_until_it_is_mended(landing: Path, warehouse: Path) -> None:
    path = logs(landing, "a/x.log.gz", b"no archive")
    folder = landing / "tracking_logs"
    os.mkfifo(folder / "pipe.log")
    (folder / "away").symlink_to(landing / "tracking_logs" / "a")
    (landing / "reference").mkdir()
    (landing / "reference" / "recipients").write_bytes(b"")
    report, _ = run(landing, warehouse)
    table = f"read_parquet('{warehouse}/landed/ledger_problems.parquet')"
    rows = query(f"select source, source_file, problem, since_at from {table} order by all")
    assert [row[:2] for row in rows] == [
        ("recipients", "reference/recipients/"),
        ("tracking_logs", "tracking_logs/a/x.log.gz"),
        ("tracking_logs", "tracking_logs/away/"),
        ("tracking_logs", "tracking_logs/pipe.log"),
    ]
    assert sorted(row[2] for row in rows) == sorted(report.problems)
    assert collect(warehouse).problem_files == [row[1:3] for row in rows]
    # A run of another source looks at none of these. What was a damaged file and is a device now is one row.
    path.unlink()
    os.mkfifo(path)
    ingest(landing, warehouse, run_id="test", sources=["deliveries"])
    assert query(f"select source, source_file, problem, since_at from {table} order by all") == rows
    run(landing, warehouse)
    again = query(f"select source, source_file, problem, since_at from {table} order by all")
    assert again == rows, "no batch, nothing to publish: the tables that a rebuild reads are those that are published"
    now = collect(warehouse).problem_files
    assert now == [
        *report_of(rows[:1]),
        (rows[1][1], f"{rows[1][1]}: not a regular file; skipped"),
        *report_of(rows[2:]),
    ]
    logs(landing, "a/y.log", line(2))
    run(landing, warehouse)
    again = query(f"select source, source_file, problem, since_at from {table} order by all")
    assert report_of(again) == now
    assert again[0] == rows[0] and again[2:] == rows[2:]
    assert_rerun_changes_nothing(landing, warehouse)
    for refused in (path, folder / "pipe.log", folder / "away", landing / "reference" / "recipients"):
        refused.unlink()
    logs(landing, "a/x.log.gz", gzip.compress(line(1)))
    run(landing, warehouse)
    assert (collect(warehouse).problem_files, query(f"select * from {table}")) == ([], [])


def test_lines_of_any_size(landing: Path, warehouse: Path) -> None:
    long = line(2, agent="x" * (2 * 1024 * 1024))
    huge = line(3, agent="y" * (20 * 1024 * 1024))
    logs(landing, "a/x.log", line(1), long, huge, line(4), b"\n", b"\r\n")
    _, totals = run(landing, warehouse)
    assert (totals.accepted, totals.quarantined, totals.blank, totals.lines) == (2, 2, 2, 6)


def test_reference_rows(landing: Path, warehouse: Path) -> None:
    folder = landing / "reference" / "messages"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text(
        "\ufeffmessage_id;delivery_id;recipient_id;status;event_at;Segment\n"
        '1;-5;3;1;2024-05-01T10:00:00+02:00;"multi\nline; text"\n'
        "\n"
        "x;7;3;1;;\n"
        "-2147483649;7;3;1;;\n"
        "2;7;;1;;\n"
        "3;7;3\n"
        "4;7;3;1;yesterday;\n"
        "5;7;3.0;1;2024-05-01;\n"
    )
    report, _ = run(landing, warehouse)
    totals = report.totals["messages"]
    assert (totals.lines, totals.accepted, totals.quarantined, totals.blank) == (8, 2, 5, 1)
    rows = query(
        "select message_id, delivery_id, recipient_id, event_at::varchar, extra, line_number"
        f" from {landed(warehouse, 'messages')} order by 1"
    )
    assert rows == [
        (1, 2**32 - 5, 3, "2024-05-01 08:00:00", '{"segment":"multi\\nline; text"}', 2),
        (5, 7, 3, "2024-05-01 00:00:00", None, 10),
    ]
    reasons = query(
        f"select line_number, reason, raw from {landed(warehouse, 'set_aside')} where reason <> 'blank' order by 1"
    )
    assert reasons == [
        (5, "bad_id", b"x;7;3;1;;"),
        (6, "bad_id", b"-2147483649;7;3;1;;"),
        (7, "missing_value", b"2;7;;1;;"),
        (8, "field_count", b"3;7;3"),
        (9, "bad_value", b"4;7;3;1;yesterday;"),
    ]
    assert_rerun_changes_nothing(landing, warehouse)


def test_parquet_reference_reads_like_csv(landing: Path, warehouse: Path) -> None:
    folder = landing / "reference" / "tracked_urls"
    folder.mkdir(parents=True)
    con = duckdb.connect()
    con.execute(
        "copy (select * from (values (2, -1, 'Shop', 1), (3, null, 'All', 3), (null, 4, 'Bad', 1))"
        f" as t (url_id, delivery_id, label, url_type)) to '{folder}/a.parquet'"
    )
    (folder / "b.csv").write_text("url_id,delivery_id,label,url_type\n2,-1,Shop,1\n3,,All,3\n")
    run(landing, warehouse)
    rows = query(
        "select source_file[-3:], url_id, delivery_id, label, url_type, row_hash"
        f" from {landed(warehouse, 'tracked_urls')} order by 1, 2"
    )
    assert [row[1:] for row in rows if row[0] == "csv"] == [row[1:] for row in rows if row[0] == "uet"]
    assert [row[1:5] for row in rows][:2] == [(2, 2**32 - 1, "Shop", 1), (3, 0, "All", 3)]
    assert query(f"select line_number, reason from {landed(warehouse, 'set_aside')}") == [(3, "missing_value")]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty file"),
        ("recipient_id,recipient_id\n1,2\n", "repeated names"),
        ("email\nx@example.org\n", "no column recipient_id"),
    ],
)
def test_an_unusable_reference_file_is_named_and_the_run_goes_on(
    landing: Path, warehouse: Path, text: str, complaint: str
) -> None:
    folder = landing / "reference" / "recipients"
    folder.mkdir(parents=True)
    (folder / "bad.csv").write_text(text)
    (folder / "good.csv").write_text("recipient_id\n7\n")
    report, _ = run(landing, warehouse)
    assert query(f"select recipient_id from {landed(warehouse, 'recipients')}") == [(7,)]
    known = report.problems + [str(row) for row in query(f"select reason from {landed(warehouse, 'set_aside')}")]
    assert len(known) == 1, known
    assert complaint in known[0]


def reference(landing: Path, entity: str, text: str | bytes, name: str = "a.csv") -> Path:
    path = landing / "reference" / entity / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("name", ["line_number", "byte_offset", "e", "extra", "reason", "source_file", "key", "in_x"])
def test_further_columns_may_have_any_name(landing: Path, warehouse: Path, name: str) -> None:
    reference(landing, "messages", f"message_id,delivery_id,recipient_id,status,{name}\n1,1,1,1,a\n2,1,x,1,b\n")
    report, _ = run(landing, warehouse)
    assert (report.totals["messages"].accepted, report.totals["messages"].quarantined) == (1, 1)
    kept = query(f"select line_number, extra from {landed(warehouse, 'messages')}")
    assert kept == [(2, f'{{"{name}":"a"}}')]


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
def test_records_end_with_any_line_end(landing: Path, warehouse: Path, end: str) -> None:
    rows = ["message_id,delivery_id,recipient_id,status,note", "1,1,1,1,", f'2,1,1,1,"two{end}lines"', "3,1,1,1,x"]
    reference(landing, "messages", end.join(rows) + end)
    run(landing, warehouse)
    found = query(f"select message_id, line_number from {landed(warehouse, 'messages')} order by 1")
    assert found == [(1, 2), (2, 3), (3, 5)]


def test_a_stray_quote_costs_its_own_row_at_most(landing: Path, warehouse: Path) -> None:
    rows = [f"{n},1,1,1,note" for n in range(1, 11)]
    rows[2] = '3,1,1,1,5" tab'
    rows[6] = '7,1,1,1,"never closed'
    reference(landing, "messages", "message_id,delivery_id,recipient_id,status,note\n" + "\n".join(rows) + "\n")
    run(landing, warehouse)
    found = [row[0] for row in query(f"select message_id from {landed(warehouse, 'messages')} order by 1")]
    assert found == [1, 2, 3, 4, 5, 6, 8, 9, 10]
    assert query(f"select line_number, raw from {landed(warehouse, 'set_aside')}") == [(8, rows[6].encode())]


def test_a_last_row_of_several_lines_needs_no_final_line_end(landing: Path, warehouse: Path) -> None:
    reference(landing, "deliveries", 'delivery_id,html_content\n1,a\n2,"<p>\nlast\n</p>"')
    run(landing, warehouse)
    found = query(f"select delivery_id, html_content from {landed(warehouse, 'deliveries')} order by 1")
    assert found == [(1, "a"), (2, "<p>\nlast\n</p>")]


def test_delimiters_inside_quotes_do_not_decide(landing: Path, warehouse: Path) -> None:
    header = '"message_id";"delivery_id";"recipient_id";"status";"note, with, many, commas, in, it"\n'
    reference(landing, "messages", header + "1;1;1;1;x\n")
    run(landing, warehouse)
    assert query(f"select message_id from {landed(warehouse, 'messages')}") == [(1,)]


def test_an_unknown_key_is_no_row(landing: Path, warehouse: Path) -> None:
    reference(landing, "messages", "message_id,delivery_id,recipient_id,status\n0,1,1,1\n5,0,0,1\n")
    run(landing, warehouse)
    assert query(f"select message_id from {landed(warehouse, 'messages')}") == [(5,)]
    assert query(f"select line_number, reason from {landed(warehouse, 'set_aside')}") == [(2, "bad_id")]


def test_compressed_reference_and_ids_from_float_columns(landing: Path, warehouse: Path) -> None:
    reference(landing, "recipients", gzip.compress(b"recipient_id\n7\n"), "a.csv.gz")
    folder = landing / "reference" / "recipients"
    duckdb.connect().execute(f"copy (select 3e15::double as recipient_id) to '{folder}/b.parquet'")
    run(landing, warehouse)
    found = query(f"select recipient_id from {landed(warehouse, 'recipients')} order by 1")
    assert found == [(7,), (3_000_000_000_000_000,)]


def test_no_number_is_no_value(landing: Path, warehouse: Path) -> None:
    """Writers that know no NULL of floats write NaN."""
    folder = landing / "reference" / "messages"
    folder.mkdir(parents=True)
    rows = "(1, 2, 3, 1, 'NaN'::double, 'NaN'::double), (4, 2, 3, 2, 5, 4294967295)"
    named = f"(values {rows}) as row (message_id, delivery_id, recipient_id, status, failure_reason, score)"
    duckdb.connect().execute(f"copy (select * from {named}) to '{folder}/a.parquet'")
    run(landing, warehouse)
    found = query(f"select message_id, failure_reason, extra from {landed(warehouse, 'messages')} order by 1")
    assert found == [(1, None, None), (4, 5, '{"score":"4294967295"}')]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        *((f"2024-04-08 07:12:00{zone}", "2024-04-08 07:12:00") for zone in ("", "Z", " Z", "UTC", " UTC", " +00")),
        ("2024-04-08T07:12", "2024-04-08 07:12:00"),
        ("2024-04-08 07:12:00.5000000 +02:00", "2024-04-08 05:12:00.5"),
        ("2024-04-08 07:12:00-0330", "2024-04-08 10:42:00"),
        ("2024-04-08 07:12 +05:30", "2024-04-08 01:42:00"),
        *((f"2024-04-08{zone}", "2024-04-08 00:00:00") for zone in ("", "Z", " UTC")),
        ("2024-04-08+02", "2024-04-07 22:00:00"),
        ("2024-04-08-05:00", "2024-04-08 05:00:00"),
    ],
)
def test_times_of_reference_rows(landing: Path, warehouse: Path, text: str, at: str) -> None:
    reference(landing, "deliveries", f"delivery_id,sent_at\n1,{text}\n")
    run(landing, warehouse)
    assert query(f"select sent_at = '{at}'::timestamp from {landed(warehouse, 'deliveries')}") == [(True,)]


def test_a_known_content_under_a_new_name_changes_nothing_and_is_named(landing: Path, warehouse: Path) -> None:
    first = "url_id,url_type,label\n2,1,Shop\n"
    reference(landing, "tracked_urls", first, "day1.csv")
    report, _ = run(landing, warehouse)
    reference(landing, "tracked_urls", first, "day2.csv")
    report, _ = run(landing, warehouse)
    assert report.problems == []
    reference(landing, "tracked_urls", "url_id,url_type,label\n2,1,Store\n", "day3.csv")
    run(landing, warehouse)
    reference(landing, "tracked_urls", first, "day4.csv")
    report, _ = run(landing, warehouse)
    assert not report.has_new
    assert ["taken for that file re-sent" in problem for problem in report.problems] == [True]
    reference(landing, "tracked_urls", first, "day3.csv")
    report, _ = run(landing, warehouse)
    newest = f"select label from {landed(warehouse, 'tracked_urls')} order by file_modified_at desc limit 1"
    assert (report.has_new, query(newest)) == (True, [("Shop",)])


def test_settings_and_folders_that_cannot_work(tmp_path: Path, landing: Path) -> None:
    with pytest.raises(IngestError, match="does not exist"):
        ingest(tmp_path / "nowhere", tmp_path / "w", run_id="t")
    for zone in ("Mars/Base", "localtime", "posix/Europe/Paris"):
        with pytest.raises(IngestError, match="not a time zone"):
            ingest(landing, tmp_path / "w", run_id="t", server_time_zones={"5": zone})
    with pytest.raises(IngestError, match="may not contain"):
        ingest(landing, tmp_path / "w[1]", run_id="t")


def test_a_run_killed_between_rename_and_ledger_leaves_nothing(landing: Path, warehouse: Path) -> None:
    logs(landing, "a/x.log", *numbered(50))
    run(landing, warehouse)
    orphan = warehouse / "landed" / "tracking_logs" / "batch_id=99"
    orphan.mkdir()
    (orphan / "part-0.parquet").write_bytes(b"half")
    _, totals = run(landing, warehouse)
    assert totals.lines == 0
    assert len(events(warehouse)) == 50


LINES = [*numbered(60), line(0xFD7E000 + 5, url=9), CORRUPT, b"\n", b"garbage\xff\n"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False), st.integers(1, 4), st.integers(1, 3))
def test_any_order_split_overlap_and_repetition_gives_the_same_events(
    tmp_path_factory: pytest.TempPathFactory, rng: random.Random, files: int, runs: int
) -> None:
    base = tmp_path_factory.mktemp("split")
    landing, warehouse = base / "landing", base / "warehouse"
    lines = LINES + rng.choices(LINES, k=20)
    rng.shuffle(lines)
    for number in range(files * runs):
        name = rng.choice(["a", "b"]) + f"/{number}.log"
        share = b"".join(lines[number :: files * runs])
        if rng.random() < 0.3:
            share, name = gzip.compress(share), name + ".gz"
        logs(landing, name, share)
        if (number + 1) % files == 0:
            run(landing, warehouse)
    run(landing, warehouse)
    reference = tmp_path_factory.mktemp("whole")
    logs(reference / "landing", "all.log", *LINES)
    run(reference / "landing", reference / "warehouse")
    assert events(warehouse) == events(reference / "warehouse")
    assert_rerun_changes_nothing(landing, warehouse)
