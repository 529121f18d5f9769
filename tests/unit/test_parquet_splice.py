"""Files made of other Parquet files: two readers, DuckDB and Arrow, find in them what SQL says should be there."""

import random
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from log_ingest.landed_places import digest
from orchestration.parquet_splice import Footer, NotAlike, splice

ROWS_OF_A_GROUP = 2048
ROWS = 20_000
COLUMNS = """
    i as id, case when i % 11 = 0 then null else (i % 7)::varchar end as word, md5(i::varchar) as text,
    case when i % 3 = 0 then null else i / 8.0 end as number, (i * 1.5)::decimal(38, 4) as amount,
    i % 2 = 0 as flag, timestamp '2024-01-01' + to_seconds(i) as moment, date '2024-01-01' + (i % 100)::integer as day,
    case when i % 5 > 0 then [i, null, i + 1] end as list, (i % 100)::tinyint as small
"""


def write(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> Path:
    connection.execute(
        f"copy ({query}) to '{path}' (format parquet, compression zstd, dictionary_size_limit 20000,"
        f" row_group_size {ROWS_OF_A_GROUP}, kv_metadata {{run_id: 'first'}})"
    )
    return path


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


@pytest.fixture
def base(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> Path:
    return write(connection, f"select {COLUMNS} from range({ROWS}) as r(i) order by i", tmp_path / "base.parquet")


@pytest.mark.parametrize("seed", range(6))
def test_row_groups_go_and_others_come_time_and_again(
    connection: duckdb.DuckDBPyConnection, base: Path, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    connection.execute("create table expected as from read_parquet(?)", [str(base)])
    for step in range(4):
        counts = Footer.of(base).rows_of_groups
        out = sorted(rng.sample(range(len(counts)), rng.choice([0, 1, len(counts) // 2])))
        for number in out:
            first = sum(counts[:number])
            connection.execute(
                "delete from expected where id in (select id from read_parquet(?, file_row_number = true)"
                " where file_row_number between ? and ?)",
                [str(base), first, first + counts[number] - 1],
            )
        new = ROWS * (step + 1)
        query = f"select {COLUMNS} from range({new}, {new + rng.choice([0, 1, 5000])}) as r(i)"
        more = write(connection, query, tmp_path / "more.parquet") if rng.random() < 0.8 else None
        if more:
            connection.execute("insert into expected from read_parquet(?)", [str(more)])
        target = tmp_path / f"{step}.parquet"
        splice(base, digest(base), out, more, target, {"run_id": f"Läufe {step}"})
        expected = connection.execute("from expected order by id").fetchall()
        assert connection.execute("from read_parquet(?) order by id", [str(target)]).fetchall() == expected
        read_by_arrow = pq.read_table(target)  # noqa: F841 (DuckDB finds it)
        assert connection.execute("from read_by_arrow order by id").fetchall() == expected
        assert pq.read_metadata(target).metadata == {b"run_id": f"Läufe {step}".encode()}
        # What readers skip by: statistics and Bloom filters lead to the same rows as looking at all.
        for wanted in rng.sample(range(new), 20):
            for column, value in (("id", str(wanted)), ("text", f"md5('{wanted}')"), ("word", f"'{wanted % 9}'")):
                assert (
                    connection.execute(
                        f"select count(*) from read_parquet('{target}') where {column} = {value}"
                    ).fetchall()
                    == connection.execute(f"select count(*) from expected where {column} = {value}").fetchall()
                )
        base = target
    assert 0 < Footer.of(base).live_share <= 1


@pytest.mark.parametrize(
    "query",
    [
        f"select {COLUMNS}, 1 as another from range(5) as r(i)",
        "select * replace (amount::decimal(18, 4) as amount) from base limit 5",
        "select * replace (id::integer as id) from base limit 5",
    ],
)
def test_rows_with_other_columns_share_no_file(
    connection: duckdb.DuckDBPyConnection, base: Path, tmp_path: Path, query: str
) -> None:
    connection.execute(f"create view base as from read_parquet('{base}')")
    more = write(connection, query, tmp_path / "more.parquet")
    with pytest.raises(NotAlike):
        splice(base, digest(base), [], more, tmp_path / "target.parquet", {})


def test_what_rotted_is_not_handed_on(connection: duckdb.DuckDBPyConnection, base: Path, tmp_path: Path) -> None:
    was = digest(base)
    with base.open("r+b") as file:
        file.seek(base.stat().st_size // 2)
        file.write(bytes([file.read(1)[0] ^ 1]))
    with pytest.raises(NotAlike, match="not what was written"):
        splice(base, was, [], None, tmp_path / "target.parquet", {})


@pytest.mark.parametrize("size", [0, 3, 8, 11, 12, 5000])
def test_what_is_no_parquet_file_is_told(base: Path, size: int) -> None:
    base.write_bytes(base.read_bytes()[:size])
    with pytest.raises(NotAlike):
        Footer.of(base)


def test_a_footer_that_is_written_as_it_was_read_has_the_same_bytes(base: Path, tmp_path: Path) -> None:
    splice(base, digest(base), [], None, tmp_path / "target.parquet", {"run_id": "first"})
    assert (tmp_path / "target.parquet").read_bytes() == base.read_bytes()


def test_a_footer_in_which_bits_rotted_is_read_or_told(base: Path) -> None:
    rng, whole, begins_at = random.Random(1), base.read_bytes(), Footer.of(base).begins_at
    told = 0
    for _ in range(1500):
        data = bytearray(whole)
        data[rng.randrange(begins_at, len(data) - 8)] ^= 1 << rng.randrange(8)
        base.write_bytes(data)
        try:
            Footer.of(base)
        except NotAlike:
            told += 1
    assert told > 50
