"""Dagster's web server and daemon and the report pages: as children of one process, which passes signals on and leaves
none behind, or one of them alone, for a service manager that does this itself.

Belongs here: command lines, and living and dying together. Does not: who may reach them (orchestration.access), or the
pages (reports, which is started as a script and never imported).
"""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from orchestration.access import Access, AccessError, allowed
from orchestration.dbt import prepare_manifest
from orchestration.home import prepare_dagster_home
from orchestration.lock import PipelineLock, PipelineLocked
from orchestration.settings import PACKAGES_DIR, PROJECT_DIR, Settings

WORKSPACE = PROJECT_DIR / "workspace.yaml"
PAGES_DIR = PACKAGES_DIR / "reports" / "start"
"""Where the report pages start: their script and the framework's settings."""
_GRACE_SECONDS = 20


def webserver_command(host: str, port: int, workspace: Path) -> list[str]:
    return [
        *(_binary("dagster-webserver"), "-w", str(workspace), "-h", host, "-p", str(port)),
        *("--log-level", "warning", "--code-server-log-level", "warning"),
    ]


def daemon_command(workspace: Path) -> list[str]:
    return [
        *(_binary("dagster-daemon"), "run", "-w", str(workspace)),
        *("--log-level", "warning", "--code-server-log-level", "warning"),
    ]


def _binary(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def pages_command(access: Access, port: int) -> list[str]:
    """The command line of the report pages; PAGES_DIR is its working directory."""
    command = [
        *(sys.executable, "-m", "streamlit", "run", str(PAGES_DIR / "report_pages.py")),
        *("--server.address", access.pages_host, "--server.port", str(port)),
    ]
    for name in access.host_names:
        command += ["--server.allowedHosts", name]
    if access.secrets is not None:
        command += ["--secrets.files", str(access.secrets)]
    return command


def pages_are_installed() -> bool:
    return importlib.util.find_spec("streamlit") is not None and importlib.util.find_spec("nh3") is not None


def become(settings: Settings, only: str, host: str, port: int, pages_port: int, workspace: Path) -> NoReturn:
    """Replace this process by the one server that `only` names (webserver, daemon, reports): signals reach it.

    Raises as serve does; AccessError also where the pages are not installed.
    """
    access = allowed(settings, host)
    if only == "reports":
        if not pages_are_installed():
            raise AccessError("the report pages are not installed: pip install 'message-tracking-warehouse[reports]'")
        command, folder = pages_command(access, pages_port), PAGES_DIR
    else:
        web = webserver_command(access.dagster_host, port, workspace)
        command, folder = web if only == "webserver" else daemon_command(workspace), PROJECT_DIR
        prepare_dagster_home(settings)
        if only == "daemon":
            _only_daemon(settings).keep_over_exec()
    settings.export()
    if only != "reports" and workspace == WORKSPACE:
        prepare_manifest(settings)
    os.chdir(folder)
    sys.stdout.flush()
    os.execv(command[0], command)


def serve(settings: Settings, host: str, port: int, pages_port: int, workspace: Path = WORKSPACE) -> int:
    """Serve until a signal comes (returns 0) or a child ends by itself (the others are stopped; returns 1).

    Raises DbtError where the models cannot be read: better now than as an error page; AccessError where the host
    needs a login that is not set up; SettingsError where Dagster's storage cannot be used; PipelineLocked where another
    daemon is at work on its records.
    """
    access = allowed(settings, host)
    prepare_dagster_home(settings)
    held = _only_daemon(settings)
    settings.export()
    if workspace == WORKSPACE:
        prepare_manifest(settings)
    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    # A group of their own: Ctrl-C reaches this process alone, which then stops them in order.
    starting = [
        (webserver_command(access.dagster_host, port, workspace), PROJECT_DIR),
        (daemon_command(workspace), PROJECT_DIR),
    ]
    if pages_are_installed():
        starting.append((pages_command(access, pages_port), PAGES_DIR))
    children = [
        subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ.copy(),
            start_new_session=True,
            # The framework says where it listens, in its own words; what goes wrong is on the other stream.
            stdout=subprocess.DEVNULL if folder == PAGES_DIR else None,
        )
        for command, folder in starting
    ]
    click.echo(f"Dagster UI on http://{_in_url(access.dagster_host)}:{port}  (Ctrl-C stops it)")
    if pages_are_installed():
        click.echo(f"Report pages on http://{_in_url(access.pages_host)}:{pages_port}")
    else:
        click.echo("Report pages are not installed: pip install 'message-tracking-warehouse[reports]'")
    ended = None
    try:
        while not stopping and ended is None:
            time.sleep(0.2)
            ended = next((child for child in children if child.poll() is not None), None)
    finally:
        _stop(children)
        held.release()
    if ended is not None and not stopping:
        arguments = [str(argument) for argument in ended.args]  # type: ignore[union-attr]
        name = "the report pages" if "streamlit" in arguments else Path(arguments[0]).name
        options = {"dagster-webserver": (port, "--port"), "the report pages": (pages_port, "--reports-port")}
        hint = "; is port {} free? choose another with {}".format(*options[name]) if name in options else ""
        click.echo(f"mtw: {name} ended with exit code {ended.returncode}{hint}", err=True)
        return 1
    return 0


def _only_daemon(settings: Settings) -> PipelineLock:
    """Dagster starts a run twice where two daemons share their records, and takes the run that works for a failed one.

    Raises PipelineLocked.
    """
    lock = PipelineLock(settings.dagster_home / "daemon.lock")
    try:
        lock.acquire()
    except PipelineLocked as error:
        raise PipelineLocked(
            f"a Dagster daemon is at work on {settings.dagster_home} ({error}); stop that mtw serve, or give this one a"
            " DAGSTER_HOME of its own"
        ) from error
    return lock


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


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
