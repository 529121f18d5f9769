"""A purge in a process of its own that is killed at its n-th step towards disk: see ingest_child.

Usage: python -m tests.faults.purge_child serve. Then, on standard input, one line per trial: "<n> <warehouse>".
"""

import os
import signal
import sys
from pathlib import Path

from log_ingest.retention import purge
from tests.faults.ingest_child import interrupt
from tests.purges import due_of_all_kinds


def main() -> None:
    for trial in sys.stdin:
        at, name = trial.rstrip("\n").split(" ", 1)
        warehouse = Path(name)
        child = os.fork()
        if child == 0:
            wanted = due_of_all_kinds(warehouse, warehouse.with_suffix(".duckdb"))
            interrupt(int(at), lambda: os.kill(os.getpid(), signal.SIGKILL))
            purge(warehouse, wanted, run_id=f"killed-{at}")
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
