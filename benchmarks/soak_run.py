"""Pipeline runs for the soak: forks of one process that has imported everything, so that a run costs what it does and
not what starting Python does.

Reads a line per run from standard input: "run", or "erase <recipient>". Writes "pid <n>" when it begins, and when it
has ended "<exit code, negative: a signal>\t<seconds>\t<peak resident KB>\t<its line, where it failed>".
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import great_expectations  # noqa: F401  (what a run imports is imported once)

from orchestration import pipeline, privacy
from orchestration.reporting import RunReporter
from orchestration.settings import Settings


def work(words: list[str], message: Path) -> int:
    """What the command line does, without drawing."""
    try:
        settings = Settings.load()
        if words[0] == "erase":
            privacy.erase(settings, [int(words[1])], is_dry=False)
        outcome = pipeline.run_pipeline(settings, RunReporter())
        message.write_text(outcome.failure)
        return 0 if outcome.success else 1
    except Exception as error:
        # The classes whose message the command line shows as its one line.
        message.write_text(f"{type(error).__name__}: {error}")
        return 1


def main() -> None:
    for line in sys.stdin:
        handle, name = tempfile.mkstemp()
        os.close(handle)
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            code = 70
            try:
                code = work(line.split(), Path(name))
            finally:
                os._exit(code)
        print(f"pid {child}", flush=True)
        _, status, usage = os.wait4(child, 0)
        text = Path(name).read_text()
        Path(name).unlink()
        print(
            os.waitstatus_to_exitcode(status), round(time.monotonic() - started, 1), usage.ru_maxrss, repr(text),
            sep="\t", flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
