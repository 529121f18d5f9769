"""The lock: one holder over all processes, known by pid and time, gone with its process."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.lock import Holder, PipelineLock, PipelineLocked, holder

HOLD = """
import sys, time
from pathlib import Path
from orchestration.lock import PipelineLock
with PipelineLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other_process(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    path = tmp_path / "warehouse" / "run.lock"
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    yield path, child
    child.kill()
    child.wait()
    child.stdout.close()


def test_the_second_process_is_told_who_holds_it_since_when(other_process):
    path, child = other_process
    with pytest.raises(PipelineLocked) as caught:
        PipelineLock(path).acquire()
    assert re.fullmatch(rf"locked by pid {child.pid} since \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ", str(caught.value))


def test_a_killed_process_holds_nothing(other_process):
    path, child = other_process
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert holder(path) is None
    with PipelineLock(path):
        assert holder(path).pid == os.getpid()


def test_a_child_process_does_not_inherit_it(tmp_path):
    path = tmp_path / "run.lock"
    lock = PipelineLock(path)
    lock.acquire()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
    try:
        lock.release()
        assert holder(path) is None
    finally:
        child.kill()
        child.wait()


def test_the_same_process_cannot_take_it_twice(tmp_path):
    with PipelineLock(tmp_path / "run.lock"), pytest.raises(PipelineLocked):
        PipelineLock(tmp_path / "run.lock").acquire()


def test_asking_never_stops_a_run(tmp_path):
    path = tmp_path / "run.lock"
    path.touch()
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            holder(path)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(200):
            with PipelineLock(path):
                pass
    except PipelineLocked as error:
        pytest.fail(f"asking who holds the lock refused a run: {error}")
    finally:
        stop.set()
        asking.join()


def test_nobody_holds_a_lock_that_was_never_taken_or_was_released(tmp_path):
    path = tmp_path / "run.lock"
    assert holder(path) is None
    with PipelineLock(path):
        pass
    assert holder(path) is None
    assert path.read_bytes() == b""


def test_an_unreadable_content_still_says_that_it_is_held(tmp_path):
    path = tmp_path / "run.lock"
    with PipelineLock(path):
        path.write_text("nonsense")
        assert holder(path) == Holder(None, None)
        assert str(holder(path)) == "locked by another process"
