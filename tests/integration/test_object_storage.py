"""Landing and landed locations in a bucket: the same rows as from and in a folder, and every fault that only object
stores have. The server is real, on the loopback address (tests/s3_server.py)."""

import gzip
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
import zstandard

from log_ingest import line_work, object_store
from log_ingest.audit import damaged_parts
from log_ingest.erasure import erase
from log_ingest.errors import IngestError
from log_ingest.files import LandingPlace
from log_ingest.ingest import LEDGER_NAME, SEAL_AFTER, ingest
from log_ingest.ledger import Ledger
from log_ingest.ledger_database import PostgresUrl
from log_ingest.report import IngestReport, SourceTotals
from log_ingest.status import collect
from log_ingest.storage import ObjectUrl
from log_ingest.workers import Job, take_turn
from orchestration import identifiers
from orchestration.doctor import diagnose
from orchestration.sensors import landing_fingerprint
from orchestration.settings import Settings
from tests.conftest import ROOT, Demo, mtw
from tests.invariants import EMPTY, assert_accounted, assert_rerun_changes_nothing, events, landed, query
from tests.loglines import line, logs, numbered
from tests.postgres import Server
from tests.robin import HER_VISITOR, ROBIN, write_all
from tests.s3_server import KEY_ID, SECRET, Request, S3Server, before, break_off, cut, refuse

NOISE = [b"garbage\n", b"\n", b"\xff\xfe\n"]


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    found = S3Server()
    found.start()
    yield found
    found.stop()


@pytest.fixture
def s3(server: S3Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> S3Server:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    server.faults.clear()
    server.requests.clear()
    return server


class Lake:
    """A landing and a landed location in a bucket of their own, and the local rest of the warehouse."""

    def __init__(self, server: S3Server, name: str, warehouse: Path) -> None:
        self.server, self.warehouse = server, warehouse
        server.make_bucket(name)
        self.landing = ObjectUrl(name, "in/coming")
        self.landed = ObjectUrl(name, "out/landed")

    def log(self, name: str, *lines: bytes) -> None:
        self.server.put(self.landing / f"tracking_logs/{name}", b"".join(lines))

    def run(self, **options) -> tuple[IngestReport, SourceTotals]:
        report = ingest(self.landing, self.warehouse, run_id="test", landed_dir=self.landed, **options)
        assert_accounted(self.warehouse, self.landed)
        return report, report.totals["tracking_logs"]

    def events(self) -> list[tuple]:
        return events(self.warehouse, self.landed)

    def query(self, sql: str, source: str = "tracking_logs") -> list[tuple]:
        return query(f"{sql.replace('landed', landed(self.warehouse, source, self.landed))}", self.landed)

    def leftovers(self) -> list[str]:
        """Keys below the landed location that the ledger does not account for."""
        with Ledger(self.warehouse / LEDGER_NAME, read_only=True) as ledger:
            parts = {part["path"] for part in ledger.parts()}
        found = [key.removeprefix("out/landed/") for key in self.server.keys(self.landed.bucket) if key[:3] == "out"]
        return [path for path in found if path not in parts and EMPTY not in path and "/" in path]


@pytest.fixture
def lake(s3: S3Server, warehouse: Path, request: pytest.FixtureRequest) -> Lake:
    return Lake(s3, f"b{abs(hash(request.node.nodeid)) % 10**12}", warehouse)


# -- the same as from a folder


def test_what_is_in_a_bucket_gives_the_rows_of_the_same_files_in_a_folder(
    lake: Lake, landing: Path, tmp_path: Path
) -> None:
    lines = [*numbered(800), *NOISE, line(0xFD7E000 + 5, url=9)]
    files = {
        "a/0x000000000FD7E000.log": b"".join(lines[:300]),
        "a/copy.log": b"".join(lines[:300]),
        "b/packed.log.gz": gzip.compress(b"".join(lines[200:500])) + gzip.compress(b"".join(lines[500:600])),
        "b/packed.log.zst": zstandard.compress(b"".join(lines[550:])),
        "b/not-for-us.txt": b"x",
    }
    for name, content in files.items():
        lake.log(name, content)
        logs(landing, name, content)
    for place in (lake.landing / "reference/messages/a.csv", landing / "reference" / "messages" / "a.csv"):
        content = b"message_id,delivery_id,recipient_id,status\n1,2,3,1\n2,x,3,1\n3,2,,1\n"
        if isinstance(place, Path):
            place.parent.mkdir(parents=True)
            place.write_bytes(content)
        else:
            lake.server.put(place, content)
    report, totals = lake.run()
    local = tmp_path / "local"
    local_report = ingest(landing, local, run_id="test")
    assert report.problems == local_report.problems == []
    assert vars(totals) == vars(local_report.totals["tracking_logs"])
    assert vars(report.totals["messages"]) == vars(local_report.totals["messages"])
    assert lake.events() == events(local)
    aside = "select source, source_file, line_number, byte_offset, reason, raw from {} order by all"
    assert lake.query(aside.format("landed"), "set_aside") == query(aside.format(landed(local, "set_aside")))
    assert_rerun_changes_nothing(lake.landing, lake.warehouse, lake.landed)
    assert lake.leftovers() == []
    assert not (lake.warehouse / "landed").exists()


def test_an_unchanged_object_is_not_read_again_and_an_empty_run_costs_few_requests(lake: Lake) -> None:
    for number in range(20):
        lake.log(f"a/{number}.log", *numbered(3, first=number * 100))
    lake.run()
    lake.server.requests.clear()
    report = ingest(lake.landing, lake.warehouse, run_id="again", landed_dir=lake.landed)
    assert report.totals["tracking_logs"].files_skipped == 20
    asked = [request for request in lake.server.requests if "/in/coming" in request.path]
    assert asked == [], "landing objects were opened"
    assert len(lake.server.requests) < 60


def test_the_same_size_and_second_with_another_content_is_noticed(lake: Lake) -> None:
    lake.log("a/x.log", line(1, message=1))
    lake.run()
    lake.log("a/x.log", line(1, message=2))
    _, totals = lake.run()
    assert totals.accepted == 1
    assert len(lake.events()) == 2


def test_copies_renames_and_later_compression_give_no_new_row(lake: Lake) -> None:
    lines = numbered(200)
    lake.log("a/one.log", *lines)
    lake.run()
    lake.server.delete(lake.landing / "tracking_logs/a/one.log")
    lake.log("b/renamed.log", *lines)
    lake.log("c/later.log.gz", gzip.compress(b"".join(lines)))
    lake.log("c/later.log.zst", zstandard.compress(b"".join(lines)))
    report, totals = lake.run()
    assert not report.has_new
    assert totals.files_duplicate == 3
    assert len(lake.events()) == 200


@pytest.mark.parametrize("size", [10, 400])
def test_an_object_that_grows_gives_its_new_lines_only(lake: Lake, size: int) -> None:
    lines = numbered(2 * size)
    lake.log("a/x.log", *lines[:size], lines[size][:-9])
    _, totals = lake.run()
    assert (totals.accepted, totals.held_bytes) == (size, len(lines[size]) - 9)
    lake.log("a/x.log", *lines)
    _, totals = lake.run()
    assert (totals.accepted, totals.duplicate, totals.held_bytes) == (size, 0, 0)
    assert len(lake.events()) == 2 * size


def test_more_objects_than_one_listing_holds(lake: Lake) -> None:
    names = {f"tracking_logs/a/{number}.log" for number in range(2203)}
    for name in names:
        lake.server.put(lake.landing / name, b"x")
    found, problems = LandingPlace.open(lake.landing).discover("tracking_logs", (".log",))
    assert ({file.name for file in found}, problems) == (names, {})
    assert len([r for r in lake.server.requests if r.is_list and "tracking_logs" in r.query]) == 3
    lake.server.faults.append(refuse("SlowDown", 503, is_list=True, holds="continuation-token"))
    found, problems = LandingPlace.open(lake.landing).discover("tracking_logs", (".log",))
    assert found == [], "half a folder would seal what it should not"
    assert len(problems) == 1


def test_keys_are_taken_literally(lake: Lake) -> None:
    names = [
        "we'ird [1]*?\n $(x).log",
        "../../up.log",
        "./here.log",
        "//double//.x/slash.log",
        "quote\"'`;--.log",
        "%2e%2e+ plus&amp;?#.log",
        "ünï-😀-\u2028.log",
        "back\\slash.log",
    ]
    for number, name in enumerate(names):
        lake.log(name, line(number + 1))
    lake.server.put(lake.landing / "tracking_logs/folder.log/", b"")
    lake.server.put(lake.landing / "tracking_logs/", b"")
    lake.log(".hidden.log", line(99))
    report, totals = lake.run()
    assert report.problems == []
    assert totals.accepted == len(names)
    found = lake.query("select source_file from landed order by pointer")
    assert [row[0] for row in found] == [f"tracking_logs/{name}" for name in names]
    assert_rerun_changes_nothing(lake.landing, lake.warehouse, lake.landed)


def test_a_prefix_is_a_folder_and_not_a_beginning_of_names(lake: Lake) -> None:
    lake.log("a/x.log", line(1))
    lake.server.put(ObjectUrl(lake.landing.bucket, "in/coming-not/tracking_logs/x.log"), line(2))
    lake.server.put(lake.landing / "tracking_logs-old/x.log", line(3))
    _, totals = lake.run()
    assert totals.accepted == 1


def test_a_whole_bucket_as_landing_location(lake: Lake) -> None:
    lake.server.put(ObjectUrl(lake.landing.bucket, "tracking_logs/a/x.log"), line(1))
    lake.landing = ObjectUrl(lake.landing.bucket)
    _, totals = lake.run()
    assert totals.accepted == 1
    assert lake.query("select source_file from landed") == [("tracking_logs/a/x.log",)]


def test_only_one_of_the_two_in_a_bucket(lake: Lake, landing: Path, tmp_path: Path) -> None:
    lines = numbered(50)
    lake.log("a/x.log", *lines)
    logs(landing, "a/x.log", *lines)
    for number, (source, target) in enumerate(
        [(lake.landing, None), (landing, lake.landed), (landing, tmp_path / "l")]
    ):
        warehouse = tmp_path / f"w{number}"
        ingest(source, warehouse, run_id="test", landed_dir=target)
        assert_accounted(warehouse, target)
        assert len(events(warehouse, target)) == 50
        assert_rerun_changes_nothing(source, warehouse, target)


def test_parquet_reference_is_read_in_pieces(lake: Lake, tmp_path: Path) -> None:
    file = tmp_path / "urls.parquet"
    query(
        "copy (select range + 1 as url_id, 7 as delivery_id, 'Link ' || range as label, 1 as url_type"
        f" from range(50000)) to '{file}' (format parquet)"
    )
    lake.server.put(lake.landing / "reference/tracked_urls/u.parquet", file.read_bytes())
    report, _ = lake.run()
    assert (report.problems, report.totals["tracked_urls"].accepted) == ([], 50_000)
    assert lake.query("select count(distinct label) from landed", "tracked_urls") == [(50_000,)]


def test_a_large_object_is_one_stream(lake: Lake) -> None:
    content = b"".join(numbered(60_000))
    assert len(content) > 9 * 1024 * 1024
    lake.log("a/large.log", content)
    _, totals = lake.run()
    assert totals.accepted == 60_000
    reads = [r for r in lake.server.requests if r.method == "GET" and r.path.endswith("large.log")]
    # Its beginning for the identity, its beginning for the format, then the content.
    assert [r.headers["HTTP_RANGE"] for r in reads] == ["bytes=0-"] * 3
    assert all(r.headers["HTTP_IF_MATCH"] for r in reads)


# -- faults of reading


def test_an_object_that_vanishes_is_named_and_the_rest_goes_on(lake: Lake) -> None:
    lake.log("a/1.log", *numbered(5))
    lake.log("a/2.log", *numbered(5, first=100))
    lake.log("a/3.log", *numbered(5, first=200))
    gone = lake.landing / "tracking_logs/a/2.log"
    lake.server.faults.append(before("GET", "a/2.log", lambda: lake.server.delete(gone)))
    report, totals = lake.run()
    assert report.problems == ["tracking_logs/a/2.log: it is no longer there"]
    assert totals.accepted == 10
    report, _ = lake.run()
    assert report.problems == []


@pytest.fixture
def small_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of the tests are read as large ones are: in several requests and steps."""
    monkeypatch.setattr(object_store, "BUFFER_BYTES", 1_000)


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("name", ["a/x.log", "a/x.log.gz"])
@pytest.mark.usefixtures("small_buffer")
def test_an_object_that_is_replaced_while_it_is_read_gives_no_mixed_content(lake: Lake, name: str, nth: int) -> None:
    pack = gzip.compress if name.endswith("gz") else bytes
    old, new = numbered(300), numbered(300, server="7")
    lake.log(name, pack(b"".join(old)))
    lake.server.faults.append(
        before("GET", name, lambda: lake.log(name, pack(b"".join(new))), nth=nth),
    )
    report, totals = lake.run()
    assert report.problems == [f"tracking_logs/{name}: it was replaced while it was read"]
    assert totals.accepted == 0
    report, totals = lake.run()
    assert (report.problems, totals.accepted) == ([], 300)
    assert {row[1] for row in lake.events()} == {"7"}
    assert_rerun_changes_nothing(lake.landing, lake.warehouse, lake.landed)


def test_replaced_after_its_first_half_was_taken(lake: Lake) -> None:
    """What was read is the beginning of a content that was there; the rest is never another one's."""
    old, new = numbered(60_000), numbered(60_000, server="7")
    lake.log("a/x.log", *old)

    reads = iter(range(1, 10**9))

    def fault(request: Request, start_response, forward):
        if request.method != "GET" or not request.path.endswith("a/x.log") or next(reads) != 3:
            return None
        return cut(forward(), 9 * 1024 * 1024, lambda: lake.log("a/x.log", *new))

    lake.server.faults.append(fault)
    report, totals = lake.run()
    assert report.problems == ["tracking_logs/a/x.log: it was replaced while it was read"]
    assert 0 < totals.accepted < 60_000
    lake.server.faults.clear()
    lake.run()
    found = lake.events()
    assert len(found) == totals.accepted + 60_000
    assert_rerun_changes_nothing(lake.landing, lake.warehouse, lake.landed)


def test_a_broken_connection_is_taken_up_where_it_broke(lake: Lake) -> None:
    lake.log("a/x.log", *numbered(20_000))
    lake.server.faults.append(break_off("a/x.log", after=700_000, times=3))
    report, totals = lake.run()
    assert (report.problems, totals.accepted) == ([], 20_000)
    assert len({r.headers["HTTP_RANGE"] for r in lake.server.requests if r.path.endswith("a/x.log")}) > 1


def test_a_connection_that_never_holds_is_named_and_the_next_run_tries_again(lake: Lake) -> None:
    lake.log("a/x.log", *numbered(5_000))
    lake.log("a/y.log", line(1, server="6"))
    lake.server.faults.append(break_off("a/x.log", after=0, times=10**9))
    report, totals = lake.run()
    assert len(report.problems) == 1
    assert report.problems[0].startswith("tracking_logs/a/x.log: the connection broke")
    assert totals.accepted == 1
    lake.server.faults.clear()
    report, totals = lake.run()
    assert (report.problems, totals.accepted) == ([], 5_000)


@pytest.mark.usefixtures("small_buffer")
def test_a_growing_object_that_cannot_be_read_keeps_what_is_known(lake: Lake) -> None:
    lines = numbered(2_000)
    lake.log("a/x.log", *lines[:1_000])
    lake.run()
    lake.log("a/x.log", *lines)
    # The third request is the one that takes the lines: it breaks off within those that are known.
    faults = [break_off("a/x.log", after=1_000, times=1), refuse("AccessDenied", 403, holds="a/x.log")]
    for nth, fault in ((2, faults[0]), (3, faults[1])):
        lake.server.faults.append(
            before("GET", "a/x.log", lambda fault=fault: lake.server.faults.append(fault), nth=nth)
        )
    report, totals = lake.run()
    assert [problem.split(":")[0] for problem in report.problems] == ["tracking_logs/a/x.log"]
    assert totals.lines == 0
    lake.server.faults.clear()
    _, totals = lake.run()
    assert (totals.accepted, totals.duplicate) == (1_000, 0)


def test_access_denied_costs_its_own_object_or_folder_and_is_tried_again(lake: Lake) -> None:
    lake.log("a/1.log", line(1))
    lake.log("a/2.log", line(2))
    lake.server.put(lake.landing / "reference/recipients/r.csv", b"recipient_id\n7\n")
    lake.server.faults += [
        refuse("AccessDenied", 403, holds="a/1.log"),
        refuse("AccessDenied", 403, holds="reference/recipients", is_list=True),
    ]
    report, totals = lake.run()
    assert report.problems == [
        "tracking_logs/a/1.log: access denied; give these credentials the permission",
        f"{lake.landing}/reference/recipients/: access denied; give these credentials the permission;"
        " the folder was skipped",
    ]
    assert totals.accepted == 1
    lake.server.faults.clear()
    report, totals = lake.run()
    assert (report.problems, totals.accepted, report.totals["recipients"].accepted) == ([], 1, 1)


def test_a_broken_archive_is_named_once_read_and_not_read_again_until_it_is_mended(lake: Lake) -> None:
    whole = gzip.compress(b"".join(numbered(2_000)))
    lake.log("a/x.log.gz", whole[:-20])
    report, _ = lake.run()
    assert [problem.split(":")[0] for problem in report.problems] == ["tracking_logs/a/x.log.gz"]
    lake.server.requests.clear()
    again, _ = lake.run()
    assert again.problems == report.problems
    assert [r for r in lake.server.requests if r.path.endswith("x.log.gz")] == []
    lake.log("a/x.log.gz", whole)
    report, totals = lake.run()
    assert (report.problems, totals.accepted) == ([], 2_000)


def test_a_busy_store_is_asked_again(lake: Lake) -> None:
    lake.log("a/x.log", *numbered(20))
    lake.server.faults += [
        refuse("SlowDown", 503, times=2),
        refuse("InternalError", 500, method="PUT", times=2),
        refuse("SlowDown", 503, is_list=True, times=2),
    ]
    report, totals = lake.run()
    assert (report.problems, totals.accepted) == ([], 20)


# -- faults of the whole


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"AWS_ENDPOINT_URL": f"http://{KEY_ID}:{SECRET[:6]}@127.0.0.1:9"}, "the store cannot be reached"),
        ({"AWS_ENDPOINT_URL": "nonsense"}, "the settings of the store cannot be used; check AWS_ENDPOINT_URL"),
        ({"AWS_PROFILE": "nobody"}, "the AWS profile or its file cannot be used"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no usable credentials"),
    ],
)
def test_a_store_that_cannot_be_used_is_one_clear_line_without_a_secret(
    lake: Lake, landing: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], says: str
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for name, value in environment.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    for options in ((lake.landing, None), (landing, lake.landed)):
        with pytest.raises(IngestError) as caught:
            ingest(options[0], lake.warehouse, run_id="test", landed_dir=options[1])
        text = str(caught.value)
        assert says in text
        assert lake.landing.bucket in text
        assert "\n" not in text
        assert SECRET[:6] not in text


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("NoSuchBucket", "the bucket does not exist"),
        ("AccessDenied", "access denied"),
        ("SignatureDoesNotMatch", "the credentials were refused"),
        ("ExpiredToken", "the credentials have expired"),
        ("Strange", "the store refused the request (Strange)"),
    ],
)
def test_a_location_that_cannot_be_listed_stops_the_run(lake: Lake, code: str, says: str) -> None:
    lake.server.faults.append(refuse(code, 403, is_list=True))
    with pytest.raises(IngestError) as caught:
        lake.run()
    assert says in str(caught.value)


def test_a_refused_write_fails_the_run_and_the_next_one_goes_on(lake: Lake) -> None:
    """Whichever put fails for good: batches.parquet, the two parts of a batch, batches.parquet, user agents, …"""
    lake.log("a/first.log", *numbered(5, first=5_000))
    lake.run()
    for refused in range(6):
        first = 10_000 * (refused + 1)
        lake.log(f"a/{refused}.log", *numbered(20, first=first), *NOISE, line(first + 30, agent=f"another {refused}"))
        puts = iter(range(10**9))

        def fault(request: Request, start_response, forward, puts=puts, refused=refused):
            if request.method == "PUT" and next(puts) >= refused:
                return refuse("AccessDenied", 403, method="PUT")(request, start_response, forward)
            return None

        lake.server.faults.append(fault)
        with pytest.raises(IngestError, match="access denied"):
            lake.run()
        lake.server.faults.clear()
        lake.run()
        assert len(lake.events()) == 5 + 21 * (refused + 1)
        assert lake.leftovers() == []
    assert_rerun_changes_nothing(lake.landing, lake.warehouse, lake.landed)


def test_bytes_that_arrive_changed_are_not_taken_for_landed(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """moto does not look at Content-MD5, as a bad gateway would not; the ETag that it gives back tells."""
    lake.log("a/x.log", *numbered(20))

    def fault(request: Request, start_response, forward):
        if request.method == "PUT" and "batch_id=1/" in request.path:
            lake.server.put(ObjectUrl(lake.landed.bucket, request.path.split("/", 2)[2]), b"other")
            start_response("200 OK", [("ETag", '"795f3202b17cb6bc3d4b771d8c6c9eaf"')])
            return [b""]
        return None

    lake.server.faults.append(fault)
    with pytest.raises(IngestError, match="arrived with other bytes"):
        lake.run()
    lake.server.faults.clear()
    lake.run()
    assert len(lake.events()) == 20


def test_a_part_that_rots_or_goes_is_named_by_the_audit(lake: Lake) -> None:
    lake.log("a/x.log", *numbered(200), *NOISE)
    lake.run()
    with Ledger(lake.warehouse / LEDGER_NAME, read_only=True) as ledger:
        assert damaged_parts(lake.landed, ledger) == []
        lost, rotten = (part["path"] for part in ledger.parts()[:2])
        whole = lake.server.get(lake.landed / rotten)
        lake.server.put(lake.landed / rotten, whole[:-20] + b"x" * 20)
        lake.server.delete(lake.landed / lost)
        assert damaged_parts(lake.landed, ledger) == [
            (lost, "it is no longer there"),
            (rotten, "its bytes are not those that were committed"),
        ]


# -- commit, kill, leftovers, ownership

_INGEST = """
import sys
from pathlib import Path
from log_ingest.ingest import ingest
from log_ingest.storage import parse_location
landing, landed, warehouse = sys.argv[1:]
here = Path.cwd()
ingest(parse_location(landing, here), Path(warehouse), run_id="killed", landed_dir=parse_location(landed, here))
"""


def test_a_run_killed_at_any_put_leaves_the_old_or_the_new_state(lake: Lake) -> None:
    """Puts of a run: batches.parquet, the two parts of a batch, [ledger row,] batches.parquet, a part of user agents,
    [ledger row,] batches.parquet."""
    lake.log("a/first.log", *numbered(5, first=5_000))
    lake.run()
    had = 5
    moments = [("after", 2), ("after", 3), ("before", 4), ("after", 5)]
    for count, (moment, nth) in enumerate(moments):
        first = 10_000 * (count + 1)
        lake.log(f"a/{count}.log", *numbered(20, first=first), *NOISE, line(first + 30, agent=f"another {count}"))
        assert _run_killed(lake, moment, nth) == -signal.SIGKILL, (moment, nth)
        assert len(_committed(lake)) in (had, had + 21), (moment, nth)
        lake.run()
        had += 21
        assert len(lake.events()) == had, (moment, nth)
        assert lake.leftovers() == [], (moment, nth)
    assert_rerun_changes_nothing(lake.landing, lake.warehouse, lake.landed)


def _run_killed(lake: Lake, moment: str, nth: int) -> int:
    process: list[subprocess.Popen] = []
    puts = iter(range(1, 10**9))

    def fault(request: Request, start_response, forward):
        if request.method != "PUT" or next(puts) != nth:
            return None
        answer = list(forward()) if moment == "after" else [b""]
        process[0].send_signal(signal.SIGKILL)
        process[0].wait()
        if moment == "before":
            start_response("500 Killed", [])
        return answer

    lake.server.faults.append(fault)
    places = [str(lake.landing), str(lake.landed), str(lake.warehouse)]
    process.append(subprocess.Popen([sys.executable, "-c", _INGEST, *places], cwd=ROOT))
    code = process[0].wait(timeout=120)
    lake.server.faults.clear()
    return code


def _committed(lake: Lake) -> list[tuple]:
    """What a reader sees who stops at the newest batch of batches.parquet."""
    batches = f"(select coalesce(max(batch_id), 0) from '{lake.landed}/batches.parquet')"
    return query(
        f"select * from read_parquet('{lake.landed}/tracking_logs/*/*.parquet', hive_partitioning = true)"
        f" where batch_id <= {batches}",
        lake.landed,
    )


def test_leftovers_of_a_dead_run_go_and_nothing_else_does(lake: Lake) -> None:
    lake.log("a/x.log", *numbered(50))
    lake.run()
    kept = ["else/batch_id=9/part-0", "tracking_logs/readme.txt"]
    orphans = [
        "tracking_logs/batch_id=99/part-0.parquet",
        # Of a batch that exists: a put that was still on its way when its run died.
        "tracking_logs/batch_id=1/part-7.parquet",
        "set_aside/batch_id=99/odd/name\n.parquet",
    ]
    for path in [*kept, *orphans]:
        lake.server.put(lake.landed / path, b"half")
    _, totals = lake.run()
    assert totals.lines == 0
    assert len(lake.events()) == 50
    assert lake.leftovers() == sorted(kept)


def test_the_landed_place_of_another_warehouse_is_not_touched(lake: Lake, tmp_path: Path) -> None:
    lake.log("a/x.log", *numbered(50))
    lake.run()
    before = lake.server.keys(lake.landed.bucket)
    with pytest.raises(IngestError, match="belongs to another warehouse"):
        ingest(lake.landing, tmp_path / "other", run_id="test", landed_dir=lake.landed)
    (lake.warehouse / LEDGER_NAME).rename(tmp_path / "lost.sqlite")
    for log in lake.warehouse.glob(f"{LEDGER_NAME}-*"):
        log.unlink()
    with pytest.raises(IngestError, match="belongs to another warehouse"):
        ingest(lake.landing, lake.warehouse, run_id="test", landed_dir=lake.landed)
    lake.server.delete(lake.landed / "owner.txt")
    with pytest.raises(IngestError, match="holds batches that"):
        ingest(lake.landing, lake.warehouse, run_id="test", landed_dir=lake.landed)
    assert lake.server.keys(lake.landed.bucket) == [key for key in before if not key.endswith("owner.txt")]


def test_a_warehouse_moves_to_a_bucket_with_its_landed_files_and_not_without(lake: Lake, landing: Path) -> None:
    logs(landing, "a/x.log", *numbered(50))
    ingest(landing, lake.warehouse, run_id="test")
    with pytest.raises(IngestError, match="does not hold the batches"):
        ingest(landing, lake.warehouse, run_id="test", landed_dir=lake.landed)
    for path in (lake.warehouse / "landed").rglob("*.parquet"):
        name = str(path.relative_to(lake.warehouse / "landed"))
        lake.server.put(lake.landed / name, path.read_bytes())
    logs(landing, "a/y.log", *numbered(70))
    ingest(landing, lake.warehouse, run_id="test", landed_dir=lake.landed)
    assert_accounted(lake.warehouse, lake.landed)
    assert len(lake.events()) == 70
    with pytest.raises(IngestError, match="does not hold the batches"):
        ingest(landing, lake.warehouse, run_id="test")


def test_a_landed_location_that_dbt_and_duckdb_would_read_as_a_pattern_is_refused(lake: Lake, landing: Path) -> None:
    with pytest.raises(IngestError, match="may not contain"):
        ingest(landing, lake.warehouse, run_id="test", landed_dir=lake.landed / "a[1]")


def test_a_missing_extra_says_what_to_install(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    monkeypatch.delitem(sys.modules, "log_ingest.object_store")
    with pytest.raises(IngestError, match=r"pip install 'message-tracking-warehouse\[s3\]'"):
        ingest(lake.landing, lake.warehouse, run_id="test")


def test_a_local_run_loads_nothing_of_the_object_store(landing: Path, warehouse: Path) -> None:
    logs(landing, "a/x.log", *numbered(5))
    code = _INGEST + (
        "loaded = {'botocore', 'fsspec', 'log_ingest.object_store'} & set(sys.modules)\nassert not loaded, loaded\n"
    )
    arguments = [str(landing), str(warehouse / "landed"), str(warehouse)]
    subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, check=True)


def test_any_order_of_arrival_gives_the_same_events(lake: Lake, tmp_path: Path) -> None:
    rng = random.Random(3)
    lines = [*numbered(60), *NOISE, line(0xFD7E000 + 5, url=9)]
    shuffled = lines + rng.choices(lines, k=30)
    rng.shuffle(shuffled)
    for number in range(6):
        share = b"".join(shuffled[number::6])
        lake.log(
            f"{rng.choice('ab')}/{number}.log" + ".gz" * (number % 2), gzip.compress(share) if number % 2 else share
        )
        if number % 2:
            lake.run()
    logs(tmp_path / "landing", "all.log", *lines)
    ingest(tmp_path / "landing", tmp_path / "whole", run_id="test")
    assert lake.events() == events(tmp_path / "whole")
    assert collect(lake.warehouse).last_batch_id > 1


# -- around a run


def test_the_landing_sensor_sees_a_bucket_change(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.log("a/x.log", *numbered(5))
    before = landing_fingerprint(lake.landing)
    assert before == landing_fingerprint(lake.landing)
    lake.log("a/y.log", *numbered(5))
    after = landing_fingerprint(lake.landing)
    assert (after.file_count, after.total_bytes) == (2, 2 * before.total_bytes)


def test_the_doctor_names_a_bucket_that_cannot_be_listed(lake: Lake, tmp_path: Path) -> None:
    settings = Settings(lake.landing, tmp_path / "warehouse", landed_override=lake.landed)
    assert {finding.topic: finding.is_ok for finding in diagnose(settings)}["landed location"]
    lake.server.faults.append(refuse("AccessDenied", 403, is_list=True, holds="out/landed"))
    found = {finding.topic: finding for finding in diagnose(settings)}
    assert found["landing location"].is_ok
    assert not found["landed location"].is_ok
    assert "access denied" in found["landed location"].text


# -- the whole pipeline


@dataclass
class BucketDemo:
    """The files of the demo in a bucket, and what `mtw run` made of them with both locations in it."""

    server: S3Server
    warehouse: Path
    output: str = ""

    def mtw(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        settings = {"MTW_LANDED_DIR": "s3://demo-lake/landed", **self.server.environment()}
        landing = ObjectUrl("demo-lake", "in")
        return mtw(*arguments, landing=landing, warehouse=self.warehouse, settings=settings)


@pytest.fixture(scope="module")
def bucket_demo(server: S3Server, demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> BucketDemo:
    server.faults.clear()
    server.make_bucket("demo-lake")
    for path in demo.landing.rglob("*"):
        if path.is_file():
            url = ObjectUrl("demo-lake", f"in/{path.relative_to(demo.landing)}")
            server.put(url, path.read_bytes(), modified_at=path.stat().st_mtime)
    found = BucketDemo(server, tmp_path_factory.mktemp("bucket") / "warehouse")
    # The same key, so that pseudonyms are the same.
    found.warehouse.mkdir()
    shutil.copy2(demo.warehouse / identifiers.KEY_NAME, found.warehouse)
    done = found.mtw("run", "--verbose")
    assert done.returncode == 0, done.stdout + done.stderr
    found.output = done.stdout + done.stderr
    return found


RUN_FACTS = {"ingested_at", "first_ingested_at", "last_ingested_at", "first_seen_at", "recorded_at", "file_modified_at"}


def test_a_whole_run_in_a_bucket_publishes_what_the_same_run_in_folders_does(
    bucket_demo: BucketDemo, demo: Demo
) -> None:
    with duckdb.connect() as con:
        tables = {}
        for name, warehouse in (("folders", demo.warehouse), ("bucket", bucket_demo.warehouse)):
            file = os.path.realpath(warehouse / "published" / "marts.duckdb")
            con.execute(f"attach '{file}' as {name} (read_only)")
            tables[name] = con.execute(
                f"select schema_name, table_name from duckdb_tables() where database_name = '{name}' order by all"
            ).fetchall()
        assert tables["folders"] == tables["bucket"]
        compared = 0
        for schema, table in tables["folders"]:
            if (schema, table) == ("meta", "publication"):
                continue
            columns = [row[0] for row in con.execute(f"describe folders.{schema}.{table}").fetchall()]
            selected = ", ".join(f'"{column}"' for column in columns if column not in RUN_FACTS)
            left, right = (f"select {selected} from {name}.{schema}.{table}" for name in ("folders", "bucket"))
            differing = con.execute(
                f"(({left}) except all ({right})) union all (({right}) except all ({left})) limit 3"
            ).fetchall()
            assert differing == [], (schema, table)
            compared += con.execute(f"select count(*) from ({left})").fetchall()[0][0]
    assert compared > 50_000


def test_no_secret_is_in_anything_that_is_written(bucket_demo: BucketDemo) -> None:
    found = [path for path in bucket_demo.warehouse.rglob("*") if path.is_file()]
    contents = {str(path): path.read_bytes() for path in found}
    for key in bucket_demo.server.keys("demo-lake"):
        contents[key] = bucket_demo.server.get(ObjectUrl("demo-lake", key))
    contents["output"] = bucket_demo.output.encode()
    assert len(contents) > 60
    for name, content in contents.items():
        assert SECRET.encode() not in content and KEY_ID.encode() not in content, name


def test_the_commands_read_a_bucket(bucket_demo: BucketDemo, demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = bucket_demo.mtw("quarantine", "list")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "field_count" in listed.stdout
    doctor = bucket_demo.mtw("doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert "s3://demo-lake/landed can be listed" in doctor.stdout
    delivery = demo.query("select min(delivery_id) from reports.rpt_tracking_indicators where total_click_count > 0")[
        0
    ][0]
    arguments = ("explain", "rpt_tracking_indicators.total_click_count", "--delivery", str(delivery))
    explained = bucket_demo.mtw(*arguments)
    assert (explained.returncode, explained.stderr) == (0, "")
    local = mtw(*arguments, landing=demo.landing, warehouse=demo.warehouse)
    published_at = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, data")
    assert published_at.sub("", explained.stdout) == published_at.sub("", local.stdout)
    replayed = bucket_demo.mtw("quarantine", "replay")
    assert replayed.returncode == 0, replayed.stderr
    for name, value in bucket_demo.server.environment().items():
        monkeypatch.setenv(name, value)
    assert_accounted(bucket_demo.warehouse, ObjectUrl("demo-lake", "landed"))


def test_a_recipient_is_erased_from_a_bucket_as_from_a_folder(lake: Lake, warehouse: Path, tmp_path: Path) -> None:
    write_all(tmp_path / "files")
    report = ingest(tmp_path / "files", warehouse, run_id="first", landed_dir=lake.landed)
    assert report.problems == []
    told = f"select count(*) from {landed(warehouse, 'tracking_logs', lake.landed)} where visitor_id = '{HER_VISITOR}'"
    names = f"select count(*) from {landed(warehouse, 'recipients', lake.landed)} where first_name = 'Robinetta'"
    assert query(told, lake.landed) == [(3,)] and query(names, lake.landed) == [(1,)]
    found = erase(warehouse, [ROBIN], run_id="erasure", landed_dir=lake.landed)
    assert found.counts["tracking_logs"] == 5 and found.counts["set_aside"] == 4
    assert query(told, lake.landed) == query(names, lake.landed) == [(0,)]
    assert_accounted(warehouse, lake.landed)


# -- several processes, on machines that share nothing but bucket and ledger


def test_machines_that_share_bucket_and_ledger_take_every_line_once(
    lake: Lake, postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger_at = PostgresUrl(postgres.new_database().url)
    lines = numbered(120)
    lake.log("a/one.log", *lines[:80], *NOISE)
    lake.log("b/two.log", *lines[40:])
    lake.log("c/copy.log.gz", gzip.compress(b"".join(lines[40:])))
    # One machine dies with files of its batch in the bucket, beside the ledger's row.
    with monkeypatch.context() as dying, pytest.raises(SystemExit):
        dying.setattr(Ledger, "commit", lambda *_: (_ for _ in ()).throw(SystemExit))
        take_turn(job_of(lake, tmp_path / "dead", ledger_at))
    assert any("/batch_id=1/" in key for key in lake.server.keys(lake.landed.bucket))
    monkeypatch.setattr(line_work, "_CLAIMED_FILES", 1)
    with ThreadPoolExecutor() as pool:
        machines = [pool.submit(take_turn, job_of(lake, tmp_path / f"{n}", ledger_at)) for n in range(3)]
        reports = [machine.result(timeout=120) for machine in machines]
    report = ingest(lake.landing, lake.warehouse, run_id="run", landed_dir=lake.landed, ledger_at=ledger_at)
    totals = [found.totals["tracking_logs"] for found in (*reports, report) if "tracking_logs" in found.totals]
    assert sum(total.accepted for total in totals) == len(lake.events()) == 120
    assert_accounted(lake.warehouse, lake.landed, ledger_at)
    assert_rerun_changes_nothing(lake.landing, lake.warehouse, lake.landed, ledger_at)


def job_of(lake: Lake, warehouse: Path, ledger_at: PostgresUrl) -> Job:
    return Job(lake.landing, warehouse, lake.landed, ledger_at, warehouse.name, {}, SEAL_AFTER)
