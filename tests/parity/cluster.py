"""A standalone Spark cluster on this machine for tests: a master, workers, a Spark Connect server, all of the wheel."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

from tests.parity.spark import PYTHON

MASTER = "org.apache.spark.deploy.master.Master"
WORKER = "org.apache.spark.deploy.worker.Worker"
CONNECT = "org.apache.spark.sql.connect.service.SparkConnectServer"
HOST = "127.0.0.1"
SERVES_BUILDS = {"SPARK_DAEMON_MEMORY": "1g"}
"""The Spark Connect server is a driver, and takes a daemon's memory."""
FOR_A_SMALL_MACHINE = {"SPARK_DAEMON_MEMORY": "256m", "SPARK_LOCAL_IP": HOST, "SPARK_NO_DAEMONIZE": "1"}


def spark_home() -> Path:
    (home,) = PYTHON.parents[1].glob("lib/python*/site-packages/pyspark")
    return home


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


class Cluster:
    """Everything listens on the loopback address, and ends with close()."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._start("master", MASTER, "--host", HOST, "--port", str(self.port), "--webui-port", str(free_port()))
        _wait_for(self.port, self.processes["master"])

    @property
    def url(self) -> str:
        return f"spark://{HOST}:{self.port}"

    def add_worker(self, name: str) -> None:
        port = free_port()
        self._start(
            name, WORKER, "--host", HOST, "--port", str(port), "--webui-port", str(free_port()), "--cores", "1",
            "--memory", "1g", "--work-dir", str(self.folder / name), self.url,
        )  # fmt: skip
        _wait_for(port, self.processes[name])

    def start_connect(self, conf: dict[str, str]) -> str:
        """Start a Spark Connect server as an application of this cluster, which ends with stop_connect(); its URL."""
        port = free_port()
        self.connect_ui = f"http://{HOST}:{free_port()}"
        settings = conf | {
            "spark.connect.grpc.binding.port": str(port),
            "spark.connect.grpc.binding.address": HOST,
            # It answers executors().
            "spark.ui.enabled": "true",
            "spark.ui.port": self.connect_ui.rpartition(":")[2],
        }
        given = [part for name, value in settings.items() for part in ("--conf", f"{name}={value}")]
        self._run(
            "connect",
            "spark-submit",
            "--master",
            self.url,
            "--class",
            CONNECT,
            *given,
            "spark-internal",
        )
        _wait_for(port, self.processes["connect"])
        return f"sc://{HOST}:{port}"

    def stop_connect(self) -> None:
        self.kill("connect")

    def executors(self) -> list[str]:
        """Hosts and ports of the executors that the Spark Connect server has, and that have run tasks."""
        applications = self._ask_connect("applications")
        (identifier,) = [application["id"] for application in applications]
        told = self._ask_connect(f"applications/{identifier}/executors")
        return sorted(
            executor["hostPort"] for executor in told if executor["id"] != "driver" and executor["totalTasks"]
        )

    def _ask_connect(self, what: str) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.connect_ui}/api/v1/{what}", timeout=30) as answer:
            return list(json.load(answer))

    def kill(self, name: str) -> None:
        """With everything that it started, and without a word of warning, as a machine that loses its power."""
        os.killpg(self.processes.pop(name).pid, signal.SIGKILL)

    def close(self) -> None:
        for name in list(self.processes):
            with_group = self.processes.pop(name)
            try:
                os.killpg(with_group.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            with_group.wait()

    def _start(self, name: str, what: str, *arguments: str) -> None:
        self._run(name, "spark-class", what, *arguments)

    def _run(self, name: str, *command: str) -> None:
        home = spark_home()
        keep = {key: value for key, value in os.environ.items() if not key.startswith(("MTW_", "SPARK_", "PYTHON"))}
        log = (self.folder / f"{name}.log").open("wb")
        self.processes[name] = subprocess.Popen(
            [str(home / "bin" / command[0]), *command[1:]],
            env=keep | {"SPARK_HOME": str(home)} | FOR_A_SMALL_MACHINE | (SERVES_BUILDS if name == "connect" else {}),
            cwd=self.folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        log.close()


def _wait_for(port: int, process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, "a process of the cluster ended at once; its log is in the test's folder"
        with socket.socket() as client:
            client.settimeout(1)
            if client.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError(f"nothing listens on port {port}")
