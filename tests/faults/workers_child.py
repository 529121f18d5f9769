"""Several ingest workers at once, in processes of their own, of which some die at a random moment.

Usage: see tests.faults.trials; a trial is "seed landing warehouse ledger-url". Its exit code: how many died.
"""

import os
import random
import signal
from pathlib import Path

from log_ingest import line_work, take_lines
from log_ingest.ingest import SEAL_AFTER
from log_ingest.ledger_database import PostgresUrl
from log_ingest.workers import Job, take_turn
from tests.faults.ingest_child import interrupt
from tests.faults.trials import kill_me, serve

COUNT = 3
WAVES = 2
_DYING_SHARE = 0.75


def trial(seed: str, landing: str, warehouse: str, url: str) -> int:
    dice = random.Random(seed)
    deaths = 0
    for _ in range(WAVES):
        children = []
        for _ in range(COUNT):
            fate = (dice.random() < _DYING_SHARE, dice.random() < 0.7, dice.randint(1, 25), dice.uniform(0.02, 1.0))
            children.append(os.fork())
            if children[-1] == 0:
                _work(fate, Job(Path(landing), Path(warehouse), None, PostgresUrl(url), seed, {}, SEAL_AFTER))
        for child in children:
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            assert code in (0, -signal.SIGKILL, -signal.SIGALRM), code
            deaths += code != 0
    return deaths


def _work(fate: tuple[bool, bool, int, float], job: Job) -> None:
    code = 70
    try:
        dies, by_step, step, seconds = fate
        # Small shares and batches, so that they get in each other's way.
        line_work._CLAIMED_FILES, take_lines.BATCH_FILES = 2, 3
        if dies and by_step:
            interrupt(step, kill_me)
        elif dies:
            signal.setitimer(signal.ITIMER_REAL, seconds)
        take_turn(job)
        code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    serve(trial)
