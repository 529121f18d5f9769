"""What deploy/ holds is valid by the tools and schemas of those who read it, and names only what there is.

Containers and clusters are not started here: no test of this project has them.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from jsonschema import Draft7Validator
from packaging.requirements import Requirement

from orchestration.cli import main
from tests.conftest import ROOT, unless_required

DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
UNITS = sorted((DEPLOY / "systemd").glob("*.service")) + sorted((DEPLOY / "systemd").glob("*.timer"))
INSTALLED = "/opt/mtw/.venv/bin/mtw"
"""Where the units expect the command."""
CHART_SCHEMA = "DAGSTER_CHART_SCHEMA"
"""Environment variable: the file values.schema.json of Dagster's chart, which is in no package registry."""
LARGEST_EXPOSURE = 20
"""Of systemd-analyze security, in tenths: 0 is a unit that may do nothing, 100 one that may do everything."""


def compose() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))


def helm() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "helm-values.yaml").read_text(encoding="utf-8"))


def files() -> list[Path]:
    return [path for path in DEPLOY.rglob("*") if path.is_file()]


# -- compose


def judged_by_compose_schema(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_compose_file_follows_the_compose_specification(tmp_path: Path) -> None:
    done = judged_by_compose_schema(COMPOSE)
    assert done.returncode == 0, done.stdout + done.stderr
    broken = compose()
    broken["services"]["code"]["read_onyl"] = True
    (tmp_path / "compose.yaml").write_text(yaml.safe_dump(broken))
    done = judged_by_compose_schema(tmp_path / "compose.yaml")
    assert done.returncode == 1
    assert "read_onyl" in done.stdout


def test_what_a_service_refers_to_is_defined() -> None:
    found = compose()
    for name, service in found["services"].items():
        assert set(service["networks"]) <= set(found["networks"]), name
        assert set(service.get("depends_on", {})) <= set(found["services"]), name
        for volume in service.get("volumes", []):
            source = volume.rsplit("}", 1)[-1].split(":")[0] or "bind mount of a variable"
            if source.startswith("./"):
                assert (DEPLOY / source).is_file(), source
            elif source.isidentifier():
                assert source in found["volumes"], f"{name}: {source}"


def test_containers_are_reached_from_this_machine_only_and_may_do_little() -> None:
    for name, service in compose()["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert not service.get("privileged"), name
        if "mtw" in service["image"] or service["image"] == "message-tracking-warehouse":
            assert service["read_only"] is True, name
            assert service["cap_drop"] == ["ALL"], name
            assert service["security_opt"] == ["no-new-privileges:true"], name
    assert "ports" not in compose()["services"]["code"], "a code server starts runs for whoever reaches it"
    assert "ports" not in compose()["services"]["postgres"]
    assert compose()["networks"]["inside"] == {"internal": True}
    assert compose()["services"]["reports"]["volumes"] == ["warehouse:/srv/mtw/warehouse:ro"]


def test_every_variable_of_the_compose_file_is_in_the_example() -> None:
    used = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text(encoding="utf-8")))
    example = (DEPLOY / "example.env").read_text(encoding="utf-8")
    assert used == set(re.findall(r"^(\w+)=", example, flags=re.MULTILINE))


def test_settings_without_a_line_in_the_compose_file_reach_the_pipeline() -> None:
    services = compose()["services"]
    assert services["code"]["env_file"] == [{"path": ".env", "required": False}], "beside the compose file: deploy/.env"
    assert services["ingest-worker"]["healthcheck"] == {"disable": True}, "the image's asks a code server"


def test_no_secret_is_in_it() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in files())
    example = (DEPLOY / "example.env").read_text(encoding="utf-8")
    assert re.findall(r"^\w*(?:PASSWORD|SECRET\w*|KEY|KEY_ID)=(.+)$", example, flags=re.MULTILINE) == []
    passwords = set(re.findall(r"://\w+:([^@\n]+)@", text))
    assert passwords == {"${POSTGRES_PASSWORD:?set it in deploy/.env}", "…"}


def test_webserver_and_daemon_ask_the_code_server() -> None:
    (entry,) = (found["grpc_server"] for found in yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"])
    assert entry["host"] in compose()["services"]
    assert f"EXPOSE {entry['port']}\n" in (DEPLOY / "Dockerfile").read_text()
    # The name that `mtw run` gives its runs, so that the UI lists them there.
    shipped = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"][0]["python_module"]
    assert entry["location_name"] == shipped["location_name"]
    for name in ("webserver", "daemon"):
        service = compose()["services"][name]
        target = service["command"][service["command"].index("--workspace") + 1]
        assert f"./workspace.yaml:{target}:ro" in service["volumes"]


# -- the image


def test_the_image_has_what_the_wheel_is_built_from_and_the_versions_of_the_checkout() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    allowed = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["only-include"], *wheel["force-include"], project["project"]["readme"], "pyproject.toml"}
    assert needed | {*project["project"]["license-files"], "requirements.lock"} == allowed
    assert all((ROOT / name).exists() for name in allowed)
    (uv,) = re.findall(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert f" uv=={uv}\n" in text
    extras = set(re.findall(r"--extra (\w+)", text))
    # Spark has an environment of its own; the webhook receiver runs on another server.
    assert extras == set(project["project"]["optional-dependencies"]) - {"dev", "spark", "webhooks"}
    assert {Requirement(line).name for line in project["project"]["optional-dependencies"]["postgres"]} == {
        "dagster-postgres"
    }


def test_the_image_runs_as_nobody_special() -> None:
    instructions = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").split("\nFROM ")[-1]
    (user,) = re.findall(r"^USER (\S+)$", instructions, flags=re.MULTILINE)
    assert re.fullmatch(r"1\d{4}:1\d{4}", user)
    reports = compose()["services"]["reports"]["user"]
    assert reports != user
    assert reports.split(":")[1] == user.split(":")[1]
    assert "HEALTHCHECK" in instructions


# -- systemd


def systemd_analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        unless_required("no systemd-analyze: apt-get install systemd")
    return subprocess.run([str(program), *arguments], capture_output=True, text=True)


@pytest.fixture
def units(tmp_path: Path) -> list[str]:
    """The units with the command of this environment, which has to be there for systemd to find them right."""
    here = Path(sys.executable).with_name("mtw")
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace(INSTALLED, str(here)))
    return [str(tmp_path / unit.name) for unit in UNITS]


def test_systemd_finds_no_fault_with_the_units(units: list[str], tmp_path: Path) -> None:
    done = systemd_analyze("verify", "--man=no", *units)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    spoilt = tmp_path / "spoilt.service"
    spoilt.write_text(Path(units[0]).read_text().replace("ProtectSystem=strict", "ProtectSytem=strict"))
    assert "ProtectSytem" in systemd_analyze("verify", "--man=no", str(spoilt)).stderr


def test_the_units_may_do_little(units: list[str]) -> None:
    services = [unit for unit in units if unit.endswith(".service")]
    assert len(services) == 4
    for unit in services:
        options = ("--offline=true", f"--threshold={LARGEST_EXPOSURE}", "--no-pager")
        done = systemd_analyze("security", *options, unit)
        assert done.returncode == 0, done.stdout + done.stderr
        text = Path(unit).read_text()
        assert not re.search(r"^User=root|^PermissionsStartOnly|ExecStart=\+", text, flags=re.MULTILINE)
        for line in ("NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet="):
            assert f"\n{line}\n" in text, f"{unit}: {line}"
    weak = Path(services[0])
    weak.write_text(re.sub(r"^(Protect|Private|Restrict|System|NoNew).*\n", "", weak.read_text(), flags=re.MULTILINE))
    assert systemd_analyze("security", "--offline=true", f"--threshold={LARGEST_EXPOSURE}", str(weak)).returncode != 0


def test_report_pages_see_the_published_versions_alone() -> None:
    text = (DEPLOY / "systemd" / "mtw-reports.service").read_text()
    environment = dict(
        line.split("=", 1)
        for line in (DEPLOY / "systemd" / "reports.env").read_text().splitlines()
        if line and line[0] != "#"
    )
    hidden = re.findall(r"^TemporaryFileSystem=([^:\n]+):ro$", text, flags=re.MULTILINE)
    assert [Path(environment["MTW_WAREHOUSE_DIR"]).is_relative_to(folder) for folder in hidden] == [True]
    assert re.findall(r"^BindReadOnlyPaths=(.+)$", text, flags=re.MULTILINE) == [
        f"{environment['MTW_WAREHOUSE_DIR']}/published"
    ]
    assert "ReadWritePaths" not in text
    assert "\nUser=mtw-reports\n" in text


# -- names


def known_variables() -> set[str]:
    """The variables that settings read, as their source names them."""
    text = (ROOT / "orchestration" / "settings.py").read_text(encoding="utf-8")
    return set(re.findall(r"\"((?:MTW|DAGSTER)_[A-Z_]+)\"", text))


@pytest.mark.parametrize("path", [*files(), ROOT / "docs" / "deployment.md"], ids=lambda path: path.name)
def test_every_setting_that_is_named_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    # Of the chart's own: the password it hands to its pods.
    named = set(re.findall(r"\b(?:MTW|DAGSTER)_[A-Z][A-Z_]*[A-Z]\b", text)) - {"DAGSTER_PG_PASSWORD", CHART_SCHEMA}
    assert named <= known_variables()


def test_the_settings_are_found_in_their_source() -> None:
    assert {"MTW_LANDING_DIR", "MTW_DAGSTER_STORAGE_URL", "DAGSTER_HOME"} <= known_variables()
    assert "MTW_NO_SUCH" not in known_variables()


def commands() -> list[tuple[str, list[str]]]:
    """Every command line of deploy/: where it stands, its words."""
    found = []
    for unit in UNITS:
        found += [(unit.name, shlex.split(line)) for line in re.findall(r"^ExecStart=(.+)$", unit.read_text(), re.M)]
    for name, service in compose()["services"].items():
        if service["image"] == "message-tracking-warehouse":
            found += [(f"compose {name}", service["command"])] if "command" in service else []
            test = service.get("healthcheck", {}).get("test", [])
            found += [(f"compose {name}", test[1:])] if test[1:2] and test[1].startswith(("dagster", "mtw")) else []
    for line in re.findall(r"CMD (\[.+\])$", (DEPLOY / "Dockerfile").read_text(), re.M):
        found.append(("Dockerfile", json.loads(line)))
    page = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    for line in re.findall(r"^\$ (?:sudo (?:-\S+ \S+ )*)?(?:/opt/mtw/\.venv/bin/)?(mtw .+?)(?:\s+#.*)?$", page, re.M):
        found.append(("docs/deployment.md", shlex.split(line)))
    return found


def parse(words: list[str]) -> None:
    """Raises click.UsageError where a word of a command line of mtw is unknown. Runs nothing."""
    # A file of the container; the option wants one that is there.
    rest = [str(DEPLOY / "workspace.yaml") if word == "/etc/mtw/workspace.yaml" else word for word in words[1:]]
    command: click.Command = main
    while isinstance(command, click.Group):
        name = rest.pop(0)
        if name not in command.commands:
            raise click.UsageError(f"no such command: {name}")
        command = command.commands[name]
    command.make_context(command.name, rest)


@pytest.mark.parametrize(("where", "words"), [entry for entry in commands() if Path(entry[1][0]).name == "mtw"])
def test_every_command_of_ours_is_one(where: str, words: list[str]) -> None:
    parse(words)


def test_an_unknown_command_is_found_out() -> None:
    for words in (["mtw", "server"], ["mtw", "serve", "--only", "everything"], ["mtw", "serve", "--hots", "x"]):
        with pytest.raises(click.UsageError):
            parse(words)


def test_every_command_of_dagster_is_one() -> None:
    """By the help of the command itself: each option that we give is in it."""
    found = {tuple(words) for _, words in commands() if words[0].startswith("dagster")}
    assert len(found) == 3
    for words in found:
        options = [word for word in words if word.startswith("-")]
        command = list(words[: words.index(options[0])]) if options else list(words)
        program = str(Path(sys.executable).with_name(command[0]))
        done = subprocess.run([program, *command[1:], "--help"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert [option for option in options if f"{option} " not in done.stdout] == [], words


# -- Helm


def without_required(schema: Any) -> Any:
    """The schema as a chart's user meets it: what their values leave out comes from the chart's own."""
    if isinstance(schema, dict):
        return {key: without_required(value) for key, value in schema.items() if key != "required"}
    return [without_required(value) for value in schema] if isinstance(schema, list) else schema


def test_the_values_follow_the_schema_of_dagsters_chart() -> None:
    """The schema is a part of the chart, which no package registry has: helm pull --untar dagster/dagster."""
    path = os.environ.get(CHART_SCHEMA)
    if not path:
        pytest.skip(f"{CHART_SCHEMA} names no values.schema.json of Dagster's chart")
    schema = without_required(json.loads(Path(path).read_text(encoding="utf-8")))
    errors = [f"{error.json_path}: {error.message}" for error in Draft7Validator(schema).iter_errors(helm())]
    assert errors == []


def test_the_values_are_of_this_pipeline() -> None:
    found = helm()
    ours, other = found["dagster-user-deployments"]["deployments"]
    assert ours["codeServerArgs"] == ["--module-name", "orchestration.definitions"]
    assert ours["name"] != other["name"]
    assert {entry["name"] for entry in found["dagsterWebserver"]["workspace"]["servers"]} == {
        "message_tracking_warehouse",
        other["name"].replace("-", "_"),
    }
    # Two pods on two machines would not see each other's lock: one has the volume, and ends before the next starts.
    assert ours["deploymentStrategy"] == {"type": "Recreate"}
    mounts = {mount["mountPath"] for mount in ours["volumeMounts"]}
    variables = {entry["name"]: entry.get("value") for entry in ours["env"]}
    assert variables["MTW_WAREHOUSE_DIR"] in mounts
    (pages,) = ours["sidecarContainers"]
    assert {mount.get("subPath") for mount in pages["volumeMounts"] if mount["name"] == "warehouse"} == {"published"}
    assert pages["image"] == f"{ours['image']['repository']}:{ours['image']['tag']}"
    parse(pages["command"])
    assert found["runLauncher"]["type"] == "CustomRunLauncher"
    assert found["runLauncher"]["config"]["customRunLauncher"] == {
        "module": "dagster",
        "class": "DefaultRunLauncher",
        "config": {},
    }
    shipped = yaml.safe_load((ROOT / "orchestration" / "dagster.yaml").read_text())
    monitoring = shipped["run_monitoring"]
    assert found["dagsterDaemon"]["runMonitoring"] == {
        "enabled": True,
        "startTimeoutSeconds": monitoring["start_timeout_seconds"],
        "cancelTimeoutSeconds": monitoring["cancel_timeout_seconds"],
        "maxRuntimeSeconds": monitoring["max_runtime_seconds"],
        "pollIntervalSeconds": monitoring["poll_interval_seconds"],
        "freeSlotsAfterRunEndSeconds": monitoring["free_slots_after_run_end_seconds"],
    }
    limits = shipped["concurrency"]
    assert found["concurrency"]["pools"] == {
        "defaultLimit": limits["pools"]["default_limit"],
        "granularity": limits["pools"]["granularity"],
    }
    assert found["concurrency"]["runs"]["tagConcurrencyLimits"] == limits["runs"]["tag_concurrency_limits"]
    assert found["concurrency"]["runs"]["maxConcurrentRuns"] >= limits["runs"]["max_concurrent_runs"]
    # Two projects, one storage: ours would remove runs of the other.
    assert variables["MTW_KEPT_RUNS"] == "0"
    assert found["telemetry"] == {"enabled": False}
    # SQLAlchemy would take another driver than dagster-postgres can work with.
    assert found["postgresql"]["postgresqlScheme"] == "postgresql+psycopg2"
    assert found["postgresql"]["enabled"] is False
    assert found["generatePostgresqlPasswordSecret"] is False
