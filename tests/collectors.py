"""The shipped collector configurations under the real nginx and Apache, in a folder of their own on a loopback port.

Only what an installation has to set is replaced: addresses of files, and the port.
"""

import http.client
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT, unless_required

_NGINX_MAIN = """
daemon off;
{user}
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/collector.conf;
}}
"""

_APACHE_MODULES = ("mpm_event", "authz_core", "rewrite", "headers", "unique_id", "mime")
_APACHE_MAIN = """
ServerRoot {folder}
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {folder}/apache.pid
ErrorLog {folder}/error.log
{user}
TypesConfig {folder}/mime.types
{modules}
Include {folder}/collector.conf
"""


@dataclass(frozen=True)
class Collector:
    """A running collector. log: what it writes."""

    kind: str
    port: int
    log: Path

    def ask(self, target: str, *, method: str = "GET", **headers: str) -> tuple[int, str | None, list[str]]:
        """Status, Location and the cookies set ("name=value"), redirects not followed."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, target, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        response.read()
        connection.close()
        cookies = [cookie.split(";")[0] for cookie in response.headers.get_all("Set-Cookie", [])]
        return response.status, response.headers["Location"], cookies

    def finish_log(self, start: int, lines: int, *, but_for: bytes = b"\n") -> None:
        """Wait until so many lines stand in the log behind a position: a line is written after its answer.

        but_for: lines that hold it do not count.
        """
        deadline = time.monotonic() + 20
        while sum(but_for not in line for line in self.log.read_bytes()[start:].split(b"\n")[:-1]) < lines:
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)


def _set(text: str, values: dict[str, str]) -> str:
    for old, new in values.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(kind: str, targets: str) -> Iterator[Collector]:
    """Start one of nginx and apache with its shipped configuration; skips where the program is not installed."""
    program = shutil.which({"nginx": "nginx", "apache": "apache2"}[kind], path="/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None:
        unless_required(
            f"no {kind} on this machine: sudo apt-get install {'nginx' if kind == 'nginx' else 'apache2-bin'}"
        )
    with tempfile.TemporaryDirectory(prefix="mtw-collector-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # Apache's workers are not root
        (folder / "targets.map").write_text(targets)
        (folder / "mime.types").write_text("image/gif gif\n")
        shutil.copy(ROOT / "collector" / "pixel.gif", folder)
        port = _free_port()
        with _started(_command(kind, program, folder, port), folder, port):
            yield Collector(kind, port, folder / "tracking.log")


def _command(kind: str, program: str, folder: Path, port: int) -> list[str]:
    """Write the configuration; how to start the server in the foreground."""
    shipped = (ROOT / "collector" / f"{kind}.conf").read_text()
    if kind == "nginx":
        values = {
            "/etc/nginx/mtw-targets.map": f"{folder}/targets.map",
            "/var/log/nginx/mtw-tracking.log": f"{folder}/tracking.log",
            "listen 80;": f"listen 127.0.0.1:{port};",
        }
        main = _NGINX_MAIN.format(folder=folder, user="user root;" if os.getuid() == 0 else "")
        command = [program, "-c", f"{folder}/main.conf", "-p", str(folder), "-e", f"{folder}/error.log"]
    else:
        values = {
            "/etc/apache2/mtw-targets.map": f"{folder}/targets.map",
            "/var/log/apache2/mtw-tracking.log": f"{folder}/tracking.log",
            "/usr/share/mtw/pixel.gif": f"{folder}/pixel.gif",
            "*:80": f"*:{port}",
        }
        modules = "\n".join(f"LoadModule {m}_module /usr/lib/apache2/modules/mod_{m}.so" for m in _APACHE_MODULES)
        user = "User www-data\nGroup www-data" if os.getuid() == 0 else ""
        main = _APACHE_MAIN.format(folder=folder, port=port, user=user, modules=modules)
        command = [program, "-f", f"{folder}/main.conf", "-DFOREGROUND"]
    (folder / "collector.conf").write_text(_set(shipped, values))
    (folder / "main.conf").write_text(main)
    return command


@contextmanager
def _started(command: list[str], folder: Path, port: int) -> Iterator[None]:
    with (folder / "output").open("w") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                said = (folder / "output").read_text()
                assert server.poll() is None, said
                assert time.monotonic() < deadline, said
                time.sleep(0.1)
        yield
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
