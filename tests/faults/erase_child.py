"""An erasure in a process of its own that is killed at its n-th step towards disk: see ingest_child.

Usage: python -m tests.faults.erase_child serve. Then, on standard input, one line per trial: "<n> <warehouse>".
"""

import os
import signal
import sys
from pathlib import Path

from log_ingest.erasure import erase
from tests.faults.ingest_child import interrupt
from tests.robin import ROBIN


def main() -> None:
    for trial in sys.stdin:
        at, warehouse = trial.split(" ", 1)
        child = os.fork()
        if child == 0:
            interrupt(int(at), lambda: os.kill(os.getpid(), signal.SIGKILL))
            erase(Path(warehouse.rstrip("\n")), [ROBIN], run_id=f"killed-{at}")
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
