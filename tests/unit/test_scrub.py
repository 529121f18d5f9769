"""Texts are rid of identifiers, and of nothing else."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from log_ingest.subject import Identifiers
from orchestration.scrub import Scrubber
from orchestration.text import markdown

FOUND = Identifiers(
    recipient_ids={4_711_001},
    message_ids={0x9A00_1002, 77},
    addresses={"robin.hood@sherwood.example"},
    visitor_ids={"0aaaaaaa-1111-4111-8111-111111111111"},
    ip_addresses={"198.51.100.77", "2001:db8::77"},
    provider_ids={"sg-robin-1.filter"},
    names={"Robin", "Hood"},
)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ('{"recipient_id": 4711001, "n": 1}', '{"recipient_id": 0, "n": 1}'),
        ("id=h9a001002,1 0x9A001002 000000009A001002", "id=0,1 0 0"),
        (f"{0x9A00_1002} and {0x9A00_1002 - 2**32}", "0 and 0"),
        # The same digits without the sign, or within others, are somebody else's.
        (f"{2**32 - 0x9A00_1002} 94711001 4711001x5", f"{2**32 - 0x9A00_1002} 94711001 4711001x5"),
        (
            "To: Robin.Hood@sherwood.example, robin.hood@sherwood.example.org",
            "To: erased, robin.hood@sherwood.example.org",
        ),
        ("uuid230=0AAAAAAA-1111-4111-8111-111111111111;", "uuid230=erased;"),
        ("198.51.100.77 198.51.100.7 2001:DB8::77", "erased 198.51.100.7 erased"),
        ("sg-robin-1.filter", "erased"),
        ("Robin of 4711001", "erased of 0"),
        ("a robin, and Robin alone; 77 of them", "a robin, and Robin alone; 77 of them"),
        ("no-word@\x00 \udc80", "no-word@\x00 \udc80"),
        ("https://x/u/robin.hood@sherwood.example?a", "https://x/u/erased?a"),
        ("a={robin.hood%40sherwood.example}", "a={erased}"),
        (json.dumps("b\trobin.hood@sherwood.example"), json.dumps("b\terased")),
        ("x" * 400 + "/robin.hood@sherwood.example", "x" * 400 + "/erased"),
        ("a/robin.hoods@sherwood.example", "a/robin.hoods@sherwood.example"),
    ],
)
def test_texts(text: str, clean: str) -> None:
    assert Scrubber(FOUND).clean(text) == clean
    assert Scrubber(Identifiers()).clean(text) == text
    # As a check result quotes it, and as the event log keeps that.
    quoted = json.dumps(markdown(text))
    assert Scrubber(FOUND).clean(quoted).replace("\\", "") == json.dumps(markdown(clean)).replace("\\", "")
    assert Scrubber(Identifiers()).clean(quoted) == quoted


def test_files_and_databases(tmp_path: Path) -> None:
    log, database, other = tmp_path / "a/run.err", tmp_path / "a/b/runs.db", tmp_path / "same.bin"
    database.parent.mkdir(parents=True)
    log.write_bytes(b"\xff row 4711001\n")
    other.write_bytes(b"\xff\x00")
    with closing(sqlite3.connect(database)) as db:
        db.execute("pragma journal_mode = wal")
        db.execute("create table events (id integer primary key, body text, data blob)")
        db.executemany("insert into events (body) values (?)", [("robin.hood@sherwood.example",)] * 500)
        db.execute("insert into events (body) values ('stays')")
        db.commit()
    before = other.stat().st_mtime_ns
    assert Scrubber(FOUND).clean_folder(tmp_path) == 2
    assert log.read_bytes() == b"\xff row 0\n" and other.stat().st_mtime_ns == before
    # Also in free pages and in the log.
    assert not any(b"robin.hood" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    with closing(sqlite3.connect(database)) as db:
        assert db.execute("select body, count(*) from events group by 1 order by 1").fetchall() == [
            ("erased", 500),
            ("stays", 1),
        ]
    assert Scrubber(FOUND).clean_folder(tmp_path) == 0
