"""Timing whole processes: wall, CPU (with children) and peak memory. What is measured does not belong here."""

import contextlib
import ctypes
import os
import resource
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Cost:
    """Seconds of wall time and of CPU of one process and all that it started; peak memory in bytes of the largest."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


def run(arguments: Sequence[str], settings: dict[str, str] | None = None) -> Cost:
    """Run a command to its end and account for it. Raises RuntimeError with its last lines where it fails."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MTW_", "DAGSTER_"))}
    _adopt_orphans()
    started = time.perf_counter()
    process = subprocess.Popen(
        arguments, cwd=ROOT, env=environment | (settings or {}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    usages = [usage, *_left_behind()]
    if os.waitstatus_to_exitcode(status) != 0:
        raise RuntimeError(output.decode(errors="replace")[-2000:])
    return Cost(
        wall,
        sum(each.ru_utime + each.ru_stime for each in usages),
        max(each.ru_maxrss for each in usages) * 1024,
    )


_PR_SET_CHILD_SUBREAPER = 36


def _adopt_orphans() -> None:
    """What outlives its parent becomes a child of this process: dbt does not wait for Spark's Java, which nobody would
    account for otherwise."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def _left_behind() -> list[resource.struct_rusage]:
    found = []
    with contextlib.suppress(ChildProcessError):
        while True:
            found.append(os.wait4(-1, 0)[2])
    return found
