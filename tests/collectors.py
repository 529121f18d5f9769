"""The shipped collector configurations under the real nginx and Apache, in a folder of their own on a loopback port.

Only what an installation has to set is replaced: addresses of files, and the port.
"""

import http.client
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT, unless_required

_NGINX_MAIN = """
daemon off;
user {user};
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

_APACHE_MODULES = (
    "mpm_event", "authz_core", "rewrite", "headers", "unique_id", "mime",
)  # fmt: skip
_APACHE_MAIN = """
ServerRoot {folder}
ServerName localhost
PidFile {folder}/apache.pid
ErrorLog {folder}/error.log
User {user}
TypesConfig /etc/mime.types
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
def running(kind: str, folder: Path, targets: str) -> Iterator[Collector]:
    """Start one of nginx and apache with its shipped configuration; skips where the program is not installed."""
    program = shutil.which({"nginx": "nginx", "apache": "apache2"}[kind], path="/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None:
        unless_required(f"no {kind} on this machine: sudo apt-get install {'nginx' if kind == 'nginx' else 'apache2'}")
    folder.mkdir(parents=True)
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    port, log = _free_port(), folder / "tracking.log"
    (folder / "targets.map").write_text(targets)
    shipped = (ROOT / "collector" / f"{kind}.conf").read_text()
    if kind == "nginx":
        paths = {"/etc/nginx/mtw-targets.map": "targets.map", "/var/log/nginx/mtw-tracking.log": "tracking.log"}
        ours = _set(shipped, {old: str(folder / new) for old, new in paths.items()})
        ours = _set(ours, {"listen 80;": f"listen 127.0.0.1:{port};"})
        main = _NGINX_MAIN.format(folder=folder, user=user)
        command = [program, "-c", str(folder / "main.conf"), "-p", str(folder), "-e", str(folder / "error.log")]
    else:
        paths = {"/etc/apache2/mtw-targets.map": "targets.map", "/var/log/apache2/mtw-tracking.log": "tracking.log"}
        ours = _set(shipped, {old: str(folder / new) for old, new in paths.items()})
        ours = _set(ours, {"/usr/share/mtw/pixel.gif": str(ROOT / "collector" / "pixel.gif")})
        ours = _set(ours, {"Listen 80": f"Listen 127.0.0.1:{port}", "*:80": f"*:{port}"})
        modules = "\n".join(
            f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in _APACHE_MODULES
        )
        main = _APACHE_MAIN.format(folder=folder, user=user, modules=modules)
        command = [program, "-f", str(folder / "main.conf"), "-DFOREGROUND"]
        if user == "root":
            command.insert(1, "-DBIG_SECURITY_HOLE")
    (folder / "collector.conf").write_text(ours)
    (folder / "main.conf").write_text(main)
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
        yield Collector(kind, port, log)
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
