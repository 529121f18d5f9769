"""Timing whole processes: wall, CPU (with children) and peak memory. What is measured does not belong here."""

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Cost:
    """Seconds of wall time and of CPU of one process and its children; its peak memory in bytes."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


def run(arguments: Sequence[str], settings: dict[str, str] | None = None) -> Cost:
    """Run a command to its end and account for it. Raises RuntimeError with its last lines where it fails."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MTW_", "DAGSTER_"))}
    started = time.perf_counter()
    process = subprocess.Popen(
        arguments, cwd=ROOT, env=environment | (settings or {}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    if os.waitstatus_to_exitcode(status) != 0:
        raise RuntimeError(output.decode(errors="replace")[-2000:])
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
