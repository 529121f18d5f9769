"""Memory that a run's process holds for another time, given back: it lives beside dbt, and then publishes.

Belongs here: letting go of what libraries keep. Does not: limits (settings).
"""

import ctypes
import gc
import sys

import pyarrow as pa

from log_ingest import user_agents


def give_back() -> None:
    """Return to the system what ingest and checks have used: 400 MB, at any number of events.

    Arrow keeps its buffers, the lists of user agents are read again in half a second, and glibc keeps what is freed.
    """
    user_agents.forget_lists()
    gc.collect()
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            trim(0)
