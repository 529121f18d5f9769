"""The dbt project as Dagster sees it: parsed manifests, arguments, names and groups.

Belongs here: everything about calling dbt that is not an asset. Does not: models, or when to build them.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Any

import dagster as dg
from packaging.version import Version

from log_ingest.storage import storage_problem
from orchestration.build_state import build_digest
from orchestration.dagster_dbt_alone import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtCliResource
from orchestration.links import Links
from orchestration.outcome import OUT_OF_MEMORY
from orchestration.publication import SCHEMAS
from orchestration.settings import Settings, without_secrets
from orchestration.text import plain

DBT = (sys.executable, "-P", "-m", "orchestration.dbt_process")
"""The installed dbt. -P: a project's own files are no modules, whatever their names."""
OWNERS = ["team:analytics"]


_LITTLE_SPACE = 10_000_000
"""Bytes: dbt that died without a word, with less than this left, died of it."""


class DbtError(Exception):
    """dbt cannot read the project or a node of it failed. The message is one line."""


def dbt_args(*, full_refresh: bool, one_at_a_time: bool = False) -> list[str]:
    """The dbt command of a pipeline run. Selection and target are added by dagster-dbt.

    Unit tests test the models, not the data: they belong to the test suite, and no run waits for them.
    """
    return [
        *("build", "--exclude-resource-type", "unit_test"),
        *(["--full-refresh"] if full_refresh else []),
        *(["--threads", "1"] if one_at_a_time else []),
    ]


FLAGS = ("--no-use-colors", "--log-level-file", "info")
"""The statements of a run are in its target folder. As debug messages in dbt's log, 17 MB a run, they cost a fifth of
dbt's time."""
CAUTIOUS = {"MTW_DBT_DISABLED_OPTIMIZERS": "build_side_probe_side,column_lifetime"}
"""For a build after one in which DuckDB itself broke down: without these the breakdown that we know does not happen."""
BROKE_DOWN = ("INTERNAL Error", "database has been invalidated")
"""How DuckDB says that it found itself in a state that it cannot be in."""


def told_alone(settings: Settings) -> dict[str, str]:
    """Variables for dbt in a process of its own alone: its end closes the database; the code of its templates is kept
    for the next one."""
    return {"MTW_DBT_KEEP_OPEN": "True", "MTW_DBT_TEMPLATES": str(_templates(settings))}


def _templates(settings: Settings) -> Path:
    return settings.dbt_dir / "templates"


class InstalledDbt(DbtCliResource):
    """DbtCliResource that does not do what nobody here asks it for.

    dagster-dbt starts `dbt --version` before every command, which takes 2.5 seconds to say what the installed package
    says, and loads dbt into this process for an adapter, which takes 1.5 (see orchestration.table_metadata).
    """

    @property
    def _cli_version(self) -> Version:
        return Version(distribution_version("dbt-core"))

    def _initialize_dbt_core_adapter(self, args: Sequence[str]) -> None:  # type: ignore[override]
        return None


def dbt_resource(settings: Settings, *, cautious: bool = False) -> InstalledDbt:
    added = told_alone(settings) | (CAUTIOUS if cautious else {})
    return InstalledDbt(
        project_dir=str(settings.dbt_project_dir),
        profiles_dir=str(settings.dbt_project_dir),
        target=settings.engine,
        # Dagster gives dbt the environment of this process, so `env` adds what only dbt is to have.
        dbt_executable="/usr/bin/env",
        global_config_flags=[*(f"{name}={value}" for name, value in added.items()), *DBT, *FLAGS],
    )


class ProjectTranslator(DagsterDbtTranslator):
    """Keys and groups: a source is [source, table], a model [folder-derived group, …] as dagster-dbt names it.

    The group is the model's folder: staging_<source>, intermediate, core, reports; seeds are seeds.
    """

    def __init__(self, links: Links | None = None) -> None:
        """links: of every asset; none where only keys and groups are asked for."""
        self._links = links
        # enable_source_tests_as_checks stays off: it silently disables blocking checks on the sources.
        super().__init__(DagsterDbtTranslatorSettings(enable_asset_checks=True))

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        if dbt_resource_props["resource_type"] == "source":
            return dg.AssetKey([dbt_resource_props["source_name"], dbt_resource_props["name"]])
        return dg.AssetKey([dbt_resource_props["schema"], dbt_resource_props["name"]])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        return group_name(dbt_resource_props)

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        return str(dbt_resource_props.get("description") or "")

    def get_metadata(self, dbt_resource_props: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a report answers by its YAML, the report pages that show a mart, its page of the documentation."""
        found = dict(super().get_metadata(dbt_resource_props))
        report = (dbt_resource_props["config"].get("meta") or {}).get("report")
        if report:
            found["question"] = str(report.get("question", ""))
        if self._links:
            page = f"reports/{dbt_resource_props['name']}.md" if report else "architecture.md"
            found |= self._links.docs(page) | self._links.pages(dbt_resource_props["unique_id"])
        return found

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str]:
        return list(super().get_owners(dbt_resource_props) or OWNERS)


def group_name(dbt_resource_props: Mapping[str, Any]) -> str | None:
    """The Dagster group of a dbt node, from its folder: models/marts/core/x.sql is in "core"."""
    kind = dbt_resource_props["resource_type"]
    if kind == "source":
        return None
    if kind == "model":
        folders = dbt_resource_props["fqn"][1:-1]
        folders = folders[1:] if folders[:1] == ["marts"] else folders
        return "_".join(folders[:2]) or "models"
    return f"{kind}s"


def load_manifest(path: Path) -> dict[str, Any]:
    """A parsed manifest, in which every test belongs to a model.

    dbt attaches a test written in its own .sql file to nothing; Dagster then shows its result as an observation that
    nobody sees. It is attached to the first mart that it reads, else to the first model.
    """
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    nodes = manifest["nodes"]
    for node in nodes.values():
        if node["resource_type"] == "test" and not node.get("attached_node"):
            read = [name for name in node["depends_on"]["nodes"] if name in nodes]
            marts = [name for name in read if nodes[name]["schema"] in SCHEMAS]
            node["attached_node"] = next(iter(marts + read), None)
    return manifest


def prepare_manifest(settings: Settings) -> Path:
    """The manifest of the project as it is now; parsed (about 5 seconds) only where it has changed since.

    Raises DbtError where there is no project, or dbt cannot parse it.
    """
    if not (settings.dbt_project_dir / "dbt_project.yml").is_file():
        raise DbtError(
            f"{settings.dbt_project_dir} holds no dbt project; use a complete checkout, or mend MTW_DBT_PROJECT_DIR"
        )
    parsed = settings.dbt_dir / "parsed"
    folder = parsed / build_digest(settings)[:16]
    manifest = folder / "manifest.json"
    if manifest.is_file():
        return manifest
    parsed.mkdir(parents=True, exist_ok=True)
    # A name of its own until it is complete: the web server and the daemon may parse at the same time.
    building = Path(tempfile.mkdtemp(prefix=".parsing-", dir=parsed))
    # Of texts that are no more; where somebody else is at it, the parser makes some of it twice.
    shutil.rmtree(_templates(settings), ignore_errors=True)
    try:
        result = subprocess.run(
            [
                *(*DBT, "--no-use-colors", "--no-send-anonymous-usage-stats", "parse"),
                *("--project-dir", str(settings.dbt_project_dir), "--profiles-dir", str(settings.dbt_project_dir)),
                *("--target", settings.engine, "--target-path", str(building), "--log-path", str(building)),
            ],
            cwd=settings.dbt_project_dir,
            # Profiles are part of what dbt's cache is valid for: parsed as it will be run.
            env={**os.environ, **settings.environment(), **told_alone(settings)},
            capture_output=True,
            text=True,
        )
        if result.returncode != 0:
            raise DbtError(f"dbt cannot read {settings.dbt_project_dir}: {_first_error(result.stdout + result.stderr)}")
        try:
            building.rename(folder)
        except OSError:
            if not manifest.is_file():
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    for path in parsed.iterdir():
        if path != folder and not path.name.startswith("."):
            shutil.rmtree(path, ignore_errors=True)
    return manifest


def prepare_target(settings: Settings, manifest: Path) -> Path:
    """An empty target folder for one dbt run, with the parser's cache in it. The former run's folder goes."""
    target = settings.dbt_dir / "run"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    cache = manifest.with_name("partial_parse.msgpack")
    if cache.is_file():
        shutil.copy(cache, target)
    return target


def ran_out_of_memory(target: Path) -> bool:
    """Whether the dbt run whose artifacts are in target failed for that alone."""
    bad = _failed(target) or []
    return bool(bad) and all(OUT_OF_MEMORY in str(result.get("message")) for result in bad)


def engine_broke_down(target: Path) -> bool:
    """Whether, in the dbt run whose artifacts are in target, DuckDB itself failed; dbt may have ended at that."""
    said = "\n".join(str(result.get("message")) for result in _failed(target) or [])
    return any(sign in said + _log(target) for sign in BROKE_DOWN)


def failure(target: Path) -> str:
    """One line about what failed in the dbt run whose artifacts are in target."""
    bad = _failed(target)
    if bad is None:
        # What dbt says of a full disk goes nowhere: neither its results nor its log can be written.
        full = "No space left on device; " if shutil.disk_usage(target).free < _LITTLE_SPACE else ""
        return f"dbt stopped: {full}{_first_error(_messages(_log(target)))}; the whole log is {target / 'dbt.log'}"
    if not bad:
        return f"dbt failed without naming a model; read {target / 'dbt.log'}"
    first = bad[0]
    # Message lines beyond the first carry SQL and data.
    lines = [line.strip() for line in str(first.get("message") or "").splitlines() if line.strip()]
    message = storage_problem("\n".join(lines)) or (" ".join(lines[:2]) if lines else first["status"])
    more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    name = ".".join(first["unique_id"].split(".")[2:3])
    return f"dbt {first['unique_id'].split('.')[0]} {name} failed: {plain(message, 300)}{more}; look into {target}"


def _log(target: Path) -> str:
    log = target / "dbt.log"
    return log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""


def _failed(target: Path) -> list[dict[str, Any]] | None:
    """Results of what failed; None where dbt left none."""
    try:
        results = json.loads((target / "run_results.json").read_text(encoding="utf-8"))["results"]
    except (OSError, ValueError, KeyError):
        return None
    return [result for result in results if result["status"] in ("error", "fail", "runtime error")]


def _messages(log: str) -> str:
    """What dbt's log says, a line each: errors where there are any. Dagster lets dbt write it as JSON."""
    said, errors = [], []
    for line in log.splitlines():
        try:
            info = json.loads(line)["info"]
            said.append(str(info["msg"]))
            if info["level"] == "error":
                errors.append(str(info["msg"]))
        except (ValueError, KeyError, TypeError):
            said.append(line)
    return "\n".join(errors or said)


def _first_error(output: str) -> str:
    lines = [re.sub(r"^\d\d:\d\d:\d\d\s+", "", line.strip()) for line in output.splitlines() if line.strip()]
    start = next((index for index, line in enumerate(lines) if "error" in line.lower()), max(len(lines) - 3, 0))
    return plain(without_secrets(" ".join(lines[start : start + 3])), 400) or "no message"
