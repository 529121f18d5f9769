"""The wheel, built and installed for tests into an environment of its own."""

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UV = Path(sys.executable).with_name("uv")


@dataclass(frozen=True)
class Installation:
    """A virtual environment that holds the wheel, and an empty folder to work in."""

    environment: Path
    folder: Path

    def run(self, *command: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command as it would be typed where this environment is active, in the folder or another one."""
        keep = {key: value for key, value in os.environ.items() if not key.startswith(("MTW_", "DAGSTER_", "PYTHON"))}
        keep |= {"COLUMNS": "160", "PATH": f"{self.environment / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        return subprocess.run(
            ["/usr/bin/env", *command],
            cwd=folder or self.folder, env=keep, capture_output=True, text=True, timeout=900,
        )  # fmt: skip

    def files(self) -> dict[str, bytes]:
        """What is installed, but for bytecode."""
        (packages,) = self.environment.glob("lib/python*/site-packages")
        return {
            str(path.relative_to(packages)): path.read_bytes()
            for path in packages.rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        }


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with wheel and sdist."""
    folder = tmp_path_factory.mktemp("dist")
    command = ["build", "--quiet", "--offline", "--no-build-isolation", "--python", sys.executable]
    done = subprocess.run([str(UV), *command, "--out-dir", str(folder), str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The dependencies are those of this environment, found through a path file; of the checkout nothing is found."""
    base = tmp_path_factory.mktemp("installed")
    environment, folder = base / "venv", base / "empty"
    folder.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    done = subprocess.run(
        [str(UV), "pip", "install", "--quiet", "--offline", "--no-deps", "--python", str(python), str(wheel)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (packages,) = environment.glob("lib/python*/site-packages")
    # A plain path: the path files of that folder, the checkout's among them, are not followed.
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return Installation(environment, folder)
