"""The Dagster web server and daemon as children of one process, which passes signals on and leaves none behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

import click

from orchestration.dbt import prepare_manifest
from orchestration.home import prepare_dagster_home
from orchestration.settings import PROJECT_DIR, Settings

WORKSPACE = PROJECT_DIR / "workspace.yaml"
_GRACE_SECONDS = 20


def commands(host: str, port: int) -> list[list[str]]:
    """The command lines of the children: web server, daemon."""
    binaries = Path(sys.executable).parent
    return [
        [
            *(str(binaries / "dagster-webserver"), "-w", str(WORKSPACE), "-h", host, "-p", str(port)),
            *("--log-level", "warning", "--code-server-log-level", "warning"),
        ],
        [
            *(str(binaries / "dagster-daemon"), "run", "-w", str(WORKSPACE)),
            *("--log-level", "warning", "--code-server-log-level", "warning"),
        ],
    ]


def serve_dagster(settings: Settings, host: str, port: int) -> int:
    """Serve until a signal comes (returns 0) or a child ends by itself (the other one is stopped; returns 1).

    Raises DbtError where the models cannot be read: better now than as an error page.
    """
    prepare_dagster_home(settings)
    settings.export()
    prepare_manifest(settings)
    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    # A group of their own: Ctrl-C reaches this process alone, which then stops them in order.
    children = [
        subprocess.Popen(command, cwd=PROJECT_DIR, env=os.environ.copy(), start_new_session=True)
        for command in commands(host, port)
    ]
    click.echo(f"Dagster UI on http://{host}:{port}  (Ctrl-C stops it)")
    ended = None
    try:
        while not stopping and ended is None:
            time.sleep(0.2)
            ended = next((child for child in children if child.poll() is not None), None)
    finally:
        _stop(children)
    if ended is not None and not stopping:
        name = Path(str(ended.args[0])).name  # type: ignore[index]
        hint = f"; is port {port} free? choose another with --port" if name == "dagster-webserver" else ""
        click.echo(f"mtw: {name} ended with exit code {ended.returncode}{hint}", err=True)
        return 1
    return 0


def _stop(children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_SECONDS
    for child in children:
        try:
            child.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
