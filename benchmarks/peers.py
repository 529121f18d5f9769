"""What the ingest is measured against: scripts of other engines that read the same file.

Belongs here: the peers' scripts and their installation into an environment of their own. Does not: measuring.

Each script reads argv[1] (one plain file of lines) and writes argv[2] as zstd Parquet. A bare one splits and casts the
fields, and accounts for nothing. An equivalent one does what ingest does with a line: it writes the landed columns,
checks the form of every field, takes out lines that come again, writes what it does not keep to argv[3], with its place
and the reason, and makes a digest of the file. It has no ledger, knows no earlier run, survives no fault, and tells
repeated lines by server and pointer alone.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

DUCKDB = """
import duckdb, sys
con = duckdb.connect()
con.execute(f'''
copy (
    select
        f[1][1] as server, try_cast('0x' || f[1][4:] as bigint) as pointer, try_cast(f[2] as timestamp) as logged_at,
        try_cast('0x' || f[3] as bigint) as message_id, try_cast('0x' || f[4] as bigint) as delivery_id,
        try_cast('0x' || f[5] as bigint) as url_id, f[6] as forced, f[7] as visitor_id, f[8] as content_kind,
        f[9] as params, f[10] as user_agent, f[11] as ip
    from (
        select string_split(line, chr(9)) as f
        from read_csv('{sys.argv[1]}', columns = {{'line': 'varchar'}}, delim = chr(1), quote = '', escape = '',
            header = false, auto_detect = false, strict_mode = false)
    )
) to '{sys.argv[2]}' (format parquet, compression zstd)
''')
"""

POLARS = """
import sys, polars as pl
def hexadecimal(name):
    return pl.col(name).str.to_integer(base=16, strict=False, dtype=pl.Int64)
fields = [f"f{n}" for n in range(11)]
(
    pl.scan_csv(sys.argv[1], separator="\\t", has_header=False, quote_char=None, new_columns=fields,
                truncate_ragged_lines=True, schema={name: pl.String for name in fields}, ignore_errors=True)
    .select(
        pl.col("f0").str.slice(0, 1).alias("server"), pl.col("f0").str.slice(3).str.to_integer(base=16, strict=False,
            dtype=pl.Int64).alias("pointer"),
        pl.col("f1").str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", strict=False).alias("logged_at"),
        hexadecimal("f2").alias("message_id"), hexadecimal("f3").alias("delivery_id"),
        hexadecimal("f4").alias("url_id"),
        *fields[5:],
    )
    .sink_parquet(sys.argv[2], compression="zstd")
)
"""

CHDB = r"""
import sys, chdb
chdb.query(f'''
select
    substring(f[1], 1, 1) as server, reinterpretAsInt64(reverse(unhex(substring(f[1], 4)))) as pointer,
    parseDateTime64BestEffortOrNull(f[2], 6) as logged_at,
    reinterpretAsInt64(reverse(unhex(leftPad(f[3], 16, '0')))) as message_id,
    reinterpretAsInt64(reverse(unhex(leftPad(f[4], 16, '0')))) as delivery_id,
    reinterpretAsInt64(reverse(unhex(leftPad(f[5], 16, '0')))) as url_id,
    f[6] as forced, f[7] as visitor_id, f[8] as content_kind, f[9] as params, f[10] as user_agent, f[11] as ip
from (select splitByChar('\t', line) as f from file('{sys.argv[1]}', LineAsString))
into outfile '{sys.argv[2]}' format Parquet
settings output_format_parquet_compression_method = 'zstd'
''')
"""

_ID, _TEXT = "[0-9a-fA-F]{0,16}", r"[^\t\x00-\x1f\x7f]*"
VALID = (
    r"^[0-9A-Za-z]0x[0-9A-Fa-f]{1,16}\t[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
    rf"(?:\t{_ID}){{3}}\t[0-9A-Za-z]*\t[0-9A-Za-z-]*(?:\t{_TEXT}){{3}}"
    rf"\t[0-9a-fA-F.:]*(?:,{_TEXT})?(?:\t{_TEXT})*$"
)
"""A line whose fields have their form, as formats.trackinglogd has them: argv[4] of the equivalent scripts."""
USUAL = (
    r"^.0x[0-9A-F]{16}\t[12][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}"
    r"\t(?:(?:0|[1-9a-f][0-9a-f]{0,15})\t){3}"
)
"""A line of which the values of its first five fields tell their text, which is then not kept: argv[5]."""

EQUIVALENT_POLARS = r"""
import hashlib, sys, polars as pl
source, target, aside, valid, usual = sys.argv[1:]
with open(source, "rb") as stream:
    print(hashlib.file_digest(stream, "sha256").hexdigest())
line = pl.col("line")
field = [pl.col("fields").struct[place] for place in range(13)]
values = ["pointer", "occurred_at", "message_id", "delivery_id", "url_id"]
texts = ["log_id", "logged_at_text", "message_id_text", "delivery_id_text", "url_id_text"]
others = ["forced_delivery_id", "visitor_id", "content_kind", "params", "user_agent", "ip", "forwarded_for", "extra"]
arrived = pl.lit("2026-11-25 08:30:00").str.to_datetime(time_unit="us")
def number(text):
    return text.str.to_integer(base=16, strict=False, dtype=pl.Int64)
def id_of(text):
    return pl.when(text == "").then(0).otherwise(number(text))
def unusual(text):
    return pl.when("is_usual").then(None).otherwise(text)
lines = (
    pl.scan_lines(source, row_index_name="line_number", row_index_offset=1)
    .with_columns(
        (line.str.len_bytes() + 1).cum_sum().shift(1, fill_value=0).alias("byte_offset"),
        line.str.contains(valid).alias("is_form"), line.str.contains(usual).alias("is_usual"),
        line.str.splitn("\t", 13).alias("fields"),
    )
    .with_columns(
        field[0].str.slice(0, 1).alias("server"), number(field[0].str.slice(3)).alias("pointer"),
        field[1].str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False).alias("occurred_at"),
        *(id_of(field[place]).alias(name) for place, name in enumerate(values[2:], 2)),
    )
    .with_columns((pl.col("is_form") & ~pl.any_horizontal(pl.col(values).is_null())).alias("is_valid"))
    .with_columns(is_kept=pl.col("is_valid") & pl.struct("server", "pointer", "is_valid").is_first_distinct())
    .collect(engine="streaming")
    .lazy()
)
flag = (
    pl.when(pl.col("occurred_at") < pl.datetime(2000, 1, 1)).then(pl.lit("far_past"))
    .when(pl.col("occurred_at") > arrived + pl.duration(days=1)).then(pl.lit("far_future"))
)
lines.filter("is_kept").select(
    pl.lit(1, pl.Int64).alias("file_id"), pl.lit(source).alias("source_file"), "line_number",
    arrived.alias("ingested_at"), "byte_offset", pl.lit("\n").alias("terminator"),
    *(unusual(field[place]).alias(name) for place, name in enumerate(texts)),
    *(field[place].alias(name) for place, name in enumerate(others, 5)),
    "server", "pointer", "occurred_at", flag.alias("time_flag"), "message_id", "delivery_id", "url_id",
).sink_parquet(target, compression="zstd", compression_level=1)
reason = pl.when("is_valid").then(pl.lit("duplicate")).otherwise(pl.lit("invalid"))
rest = lines.filter(~pl.col("is_kept"))
rest.select("line_number", "byte_offset", reason.alias("reason"), "line").sink_parquet(aside)
"""

# A single thread: the line numbers of chDB would be of no order otherwise.
EQUIVALENT_CHDB = r"""
import hashlib, sys
from chdb.session import Session
source, target, aside, *patterns = sys.argv[1:]
with open(source, "rb") as stream:
    print(hashlib.file_digest(stream, "sha256").hexdigest())
valid, usual = (pattern.replace("\\", "\\\\") for pattern in patterns)
def number(text):
    return f"reinterpretAsInt64(reverse(unhex(leftPad({text}, 16, '0'))))"
def unusual(place):
    return f"if(is_usual, null, f[{place}])"
session = Session()
session.query("create database work")
session.query("use work")
session.query(f'''
create table parsed engine = Memory as
select
    line, rowNumberInAllBlocks() + 1 as line_number,
    sum(length(line) + 1) over (rows between unbounded preceding and 1 preceding) as byte_offset,
    match(line, '{valid}') as is_form, match(line, '{usual}') as is_usual, splitByChar('\t', line) as f,
    substring(f[1], 1, 1) as server, {number("substring(f[1], 4)")} as pointer,
    parseDateTime64BestEffortOrNull(f[2], 6, 'UTC') as occurred_at,
    {number("f[3]")} as message_id, {number("f[4]")} as delivery_id, {number("f[5]")} as url_id,
    is_form and occurred_at is not null and least(pointer, message_id, delivery_id, url_id) >= 0 as is_valid
from file('{source}', LineAsString)
settings max_threads = 1, input_format_parallel_parsing = 0
''')
session.query('''
create table again engine = Memory as select server, pointer, min(line_number) as first from parsed
where is_valid group by server, pointer having count() > 1
''')
repeat = '''
((server, pointer) in (select server, pointer from again)
and (server, pointer, line_number) not in (select server, pointer, first from again))
'''
session.query(f'''
select
    1::Int64 as file_id, '{source}' as source_file, line_number,
    toDateTime64('2026-11-25 08:30:00', 6, 'UTC') as ingested_at, byte_offset, '\n' as terminator,
    {unusual(1)} as log_id, {unusual(2)} as logged_at_text, {unusual(3)} as message_id_text,
    {unusual(4)} as delivery_id_text, {unusual(5)} as url_id_text, f[6] as forced_delivery_id, f[7] as visitor_id,
    f[8] as content_kind, f[9] as params, f[10] as user_agent, f[11] as ip,
    if(length(f) > 11, f[12], null) as forwarded_for,
    if(length(f) > 12, arrayStringConcat(arraySlice(f, 13), '\t'), null) as extra, server, pointer, occurred_at,
    multiIf(occurred_at < toDateTime64('2000-01-01 00:00:00', 6, 'UTC'), 'far_past',
        occurred_at > ingested_at + interval 1 day, 'far_future', null) as time_flag,
    message_id, delivery_id, url_id
from parsed where is_valid and not {repeat}
into outfile '{target}' format Parquet settings output_format_parquet_compression_method = 'zstd'
''')
session.query(f'''
select line_number, byte_offset, if(is_valid, 'duplicate', 'invalid') as reason, line
from parsed where not is_valid or {repeat} into outfile '{aside}' format Parquet
''')
"""


@dataclass(frozen=True)
class Peer:
    """A script of another engine. package: what it needs."""

    name: str
    package: str
    script: str
    is_equivalent: bool


PEERS = (
    Peer("bare Polars script", "polars", POLARS, is_equivalent=False),
    Peer("bare chDB script", "chdb", CHDB, is_equivalent=False),
    Peer("equivalent Polars script", "polars", EQUIVALENT_POLARS, is_equivalent=True),
    Peer("equivalent chDB script", "chdb", EQUIVALENT_CHDB, is_equivalent=True),
)


def environment(folder: Path) -> tuple[Path, list[str]]:
    """Make a virtual environment with the peers' packages in folder. Returns its Python and what could not be had."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    missing = []
    for package in sorted({peer.package for peer in PEERS}):
        done = subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package],
            capture_output=True,
        )
        if done.returncode:
            missing.append(package)
    return python, missing


def goaccess() -> str | None:
    """GoAccess, the common reader of access logs, where the machine has it (apt-get install goaccess)."""
    return shutil.which("goaccess")
