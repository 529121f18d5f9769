"""Trials of a fault in forked processes: one process imports everything once, each trial is a fork of it.

Belongs here: the pipe between a test and such a server, and the server's loop. Does not: what a trial does.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.conftest import ROOT

KILLED = -signal.SIGKILL


@dataclass(frozen=True)
class Server:
    """A running server: call it with a line of words, get the exit code of the trial (negative: a signal)."""

    process: subprocess.Popen

    def __call__(self, *words: object) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\t".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@contextmanager
def served(module: str, environment: dict[str, str] | None = None) -> Iterator[Server]:
    """The server of a module whose main is serve(…)."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MTW_", "DAGSTER_"))}
    with subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env=clean | (environment or {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        yield Server(process)
        process.stdin.close()


def kill_me() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def serve(trial: Callable[..., int | None]) -> None:
    """Read trials from standard input. trial: is given the words of a line, returns an exit code (None: 0)."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            # What a trial prints is none of the answers.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            code = 70
            try:
                code = trial(*line.rstrip("\n").split("\t")) or 0
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
