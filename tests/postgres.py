"""A real PostgreSQL server for tests: made with initdb in a temporary folder, on a free loopback port, gone afterwards.

Belongs here: starting and stopping it, fresh databases, users. Does not: what is in them.
Where no server program is installed the tests are skipped, loudly; where everything is required (CI) they fail.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

ADMIN, ADMIN_PASSWORD = "postgres", "only for tests"
_START_SECONDS = 60
_names = count(1)


def require(is_there: bool, what: str) -> None:
    """Skip the test where something that it needs is not installed; fail it where nothing may be skipped."""
    if is_there:
        return
    if os.environ.get("MTW_TESTS_REQUIRE_ALL") or os.environ.get("CI"):
        pytest.fail(f"{what}; nothing may be skipped here", pytrace=False)
    pytest.skip(what)


@dataclass(frozen=True)
class Database:
    """One database of the test server, with the rights of its owner or of another user."""

    port: int
    name: str
    user: str = ADMIN
    password: str = ADMIN_PASSWORD

    @property
    def url(self) -> str:
        return f"postgresql://{quote(self.user)}:{quote(self.password, safe='')}@127.0.0.1:{self.port}/{self.name}"

    def connect(self) -> psycopg.Connection:
        """A connection that commits each statement."""
        return psycopg.connect(self.url, autocommit=True)

    def execute(self, *statements: str) -> None:
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[arg-type]

    def query(self, statement: str) -> list[tuple]:
        with self.connect() as connection:
            return connection.execute(statement).fetchall()  # type: ignore[arg-type]

    def new_user(self, name: str, password: str) -> "Database":
        """A user without any right but to connect; the same database with that user."""
        with self.connect() as connection:
            connection.execute(
                sql.SQL("create user {} password {}").format(sql.Identifier(name), sql.Literal(password))
            )
        return Database(self.port, self.name, name, password)


@dataclass(frozen=True)
class Server:
    port: int

    def new_database(self, *, options: str = "") -> Database:
        """An empty database. options: what follows CREATE DATABASE name."""
        name = f"test_{next(_names)}"
        Database(self.port, "postgres").execute(f"create database {name} {options}")
        return Database(self.port, name)

    def new_owned_database(self, owner: str, password: str) -> Database:
        """An empty one of a user who is no superuser: what docs/deployment.md tells people to make."""
        admin = self.new_database()
        owned = admin.new_user(owner, password)
        admin.execute(f"alter database {admin.name} owner to {owner}", f"grant all on schema public to {owner}")
        return owned


@contextmanager
def running_server() -> Iterator[Server]:
    """A server of one's own. It refuses to run as root, so as root it runs as another user."""
    found = programs()
    require(found is not None, "no PostgreSQL server: apt-get install postgresql (the tests start their own)")
    assert found is not None
    # Not below pytest's folders: those are closed to other users. A short path: it holds the socket.
    base = Path(tempfile.mkdtemp(prefix="mtw-pg-"))
    user = _unprivileged() if os.geteuid() == 0 else None
    process = None
    try:
        password = base / "password"
        password.write_text(ADMIN_PASSWORD)
        as_user: dict = {}
        if user:
            os.chown(base, user.pw_uid, user.pw_gid)
            os.chown(password, user.pw_uid, user.pw_gid)
            as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        made = subprocess.run(
            [found / "initdb", "-D", base / "data", "-U", ADMIN, f"--pwfile={password}", "-A", "scram-sha-256",
             "-E", "UTF8", "--locale=C", "--no-sync"],
            capture_output=True, text=True, cwd=base, **as_user,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        for attempt in range(3):
            port = free_port()
            with (base / "log").open("w") as log:
                process = subprocess.Popen(
                    [found / "postgres", "-D", base / "data", "-p", str(port), "-k", base, "-F",
                     "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=50", "-c", "timezone=UTC"],
                    stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=base, **as_user,
                )  # fmt: skip
            if _answers(process, port):
                break
            assert attempt < 2, (base / "log").read_text()
        yield Server(port)
    finally:
        if process is not None and process.poll() is None:
            # Immediate shutdown: whatever it holds is thrown away.
            process.send_signal(signal.SIGQUIT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """One server for the whole session; tests take databases of their own from it."""
    with running_server() as server:
        yield server


@pytest.fixture
def database(postgres: Server) -> Database:
    return postgres.new_database()


def programs() -> Path | None:
    """The folder with initdb and postgres: Debian keeps it out of the PATH."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -float(path.parent.name))
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()), None)


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise AssertionError("no user postgres or nobody that a server could run as")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _answers(process: subprocess.Popen, port: int) -> bool:
    """Whether the server takes connections before it ends or time is up."""
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            Database(port, "postgres").connect().close()
            return True
        except psycopg.OperationalError:
            time.sleep(0.05)
    return False
