"""mtw serve --only: the process becomes the one server, as service managers want it."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from tests.conftest import mtw
from tests.postgres import free_port

SECONDS = 120


def answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Whether the address answers before the process ends or time is up."""
    deadline = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=2) as response:
                return response.status == 200
        except OSError:
            time.sleep(0.2)
    return False


def test_the_process_becomes_the_report_pages_and_a_signal_ends_it(tmp_path: Path) -> None:
    port = free_port()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MTW_", "DAGSTER_"))}
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("mtw")), "serve", "--only", "reports", "--reports-port", str(port)],
        env=kept | {"MTW_WAREHOUSE_DIR": str(tmp_path / "warehouse")},
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert answers(f"http://127.0.0.1:{port}/_stcore/health", process)
        assert b"streamlit" in Path(f"/proc/{process.pid}/cmdline").read_bytes()
        # A user that may only read starts it in production.
        assert not (tmp_path / "warehouse").exists()
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    finally:
        process.kill()
        process.wait()


def test_others_reach_it_with_a_login_only(tmp_path: Path) -> None:
    for only in ("webserver", "reports"):
        options = ("serve", "--only", only, "--host", "0.0.0.0")
        done = mtw(*options, landing=tmp_path / "landing", warehouse=tmp_path / "warehouse")
        assert done.returncode == 1
        assert "MTW_LOGIN" in done.stderr
    assert not (tmp_path / "warehouse").exists()
