"""What the ingest is measured against: scripts of other engines that parse the same file and account for nothing.

Belongs here: the peers' scripts and their installation into an environment of their own. Does not: measuring.

Each script reads argv[1] (one plain file of lines), splits and casts the same fields, and writes argv[2] as zstd
Parquet. None keeps a digest, a ledger, a quarantine, an identity or raw bytes.
"""

import shutil
import subprocess
import sys
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

SCRIPTS = {"Polars script": ("polars", POLARS), "chDB script": ("chdb", CHDB)}
"""By name: the package that it needs, and the script."""


def environment(folder: Path) -> tuple[Path, list[str]]:
    """Make a virtual environment with the peers' packages in folder. Returns its Python and what could not be had."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    missing = []
    for package in sorted({package for package, _ in SCRIPTS.values()}):
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
