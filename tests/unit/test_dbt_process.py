"""dbt without what it does for nothing writes the same logs, at every level, and makes fewer messages."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

UNREAD = {"SQLQueryStatus", "NodeCompiling", "SystemExecutingCmd"}
"""Events of the level debug, of each of the three modules that have events; nobody asks for anything in them."""

PROGRAM = """
import io, json, sys
from orchestration import dbt_process
from dbt_common.events import base_types
from dbt_common.events.base_types import EventLevel
from dbt_common.events.event_manager import EventManager
from dbt_common.events.logger import LineFormat, LoggerConfig
from dbt_common.events.types import Note, SystemExecutingCmd
from dbt.adapters.events.types import AdapterEventWarning, SQLQuery, SQLQueryStatus
from dbt.events.types import LogTestResult, NodeCompiling

spared, levels = sys.argv[1] == "spared", sys.argv[2:]
made = []
parse = base_types.ParseDict
base_types.ParseDict = lambda values, message: made.append(message.DESCRIPTOR.name) or parse(values, message)
if spared:
    dbt_process.make_events_when_read()
streams = [io.StringIO() for _ in levels]
manager = EventManager()
for at, (level, stream) in enumerate(zip(levels, streams)):
    form = LineFormat.Json if at else LineFormat.DebugText
    manager.add_logger(LoggerConfig(f"log{at}", line_format=form, level=EventLevel(level), output_stream=stream))
seen = []
manager.add_callback(lambda message: seen.append((message.info.name, message.info.level)))
node = {"node_name": "model", "unique_id": "model.x.y"}
statement = SQLQuery(conn_name="model", sql="select 'é' -- \\n", node_info=node)
manager.fire_event(statement)
manager.fire_event(SQLQueryStatus(status="OK", elapsed=1.5, query_id="", node_info=node))
manager.fire_event(NodeCompiling(node_info=node))
manager.fire_event(SystemExecutingCmd(cmd=["a", "b"]))
manager.fire_event(statement, level=EventLevel.WARN)
changed = SQLQuery(conn_name="model", sql="select 1", node_info=node)
changed.sql = "select 2"
manager.fire_event(changed, level=EventLevel.ERROR)
manager.fire_event(AdapterEventWarning(name="a", base_msg="b", args=[]))
manager.fire_event(LogTestResult(name="t", status="fail", index=1, num_models=2, num_failures=3, node_info=node),
                   level=EventLevel.ERROR)
manager.fire_event(Note(msg="said"), level=EventLevel.DEBUG)
print(json.dumps({"logs": [stream.getvalue() for stream in streams], "made": made, "seen": seen,
                  "sql": [statement.sql, changed.sql]}))
"""


def ran(*arguments: str) -> dict:
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def without_moments(log: str) -> list[object]:
    """Lines of text without the time that they begin with; lines of JSON without time and process."""
    lines: list[object] = []
    for line in log.splitlines():
        if line.startswith("{"):
            found = json.loads(line)
            del found["info"]["ts"], found["info"]["pid"], found["info"]["invocation_id"]
            lines.append(found)
        else:
            lines.append(line.split(" ", 1)[-1])
    return lines


@pytest.mark.parametrize("levels", [("info", "info"), ("debug", "info"), ("info", "debug"), ("error", "warn")])
def test_the_same_is_logged_and_less_is_made(levels: tuple[str, str]) -> None:
    usual, spared = ran("usual", *levels), ran("spared", *levels)
    assert [without_moments(log) for log in spared["logs"]] == [without_moments(log) for log in usual["logs"]]
    assert all(usual["logs"]), "each log has something to be compared"
    assert spared["sql"] == usual["sql"] == ["select 'é' -- \n", "select 2"]
    assert set(usual["made"]) >= UNREAD
    if "debug" in levels:
        assert spared["seen"] == usual["seen"]
    else:
        assert spared["seen"] == [each for each in usual["seen"] if each[1] != "debug"]
        assert not {name for name in spared["made"] if name.removesuffix("Msg") in UNREAD}


def said_by(program: str) -> tuple[list[str], list[str]]:
    """The lines of a program that is told `usual`, then `spared`."""
    usual, spared = (
        subprocess.run(
            [sys.executable, "-c", program, how], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        for how in ("usual", "spared")
    )
    return usual, spared


def test_dates_are_read_as_before() -> None:
    program = """
import sys
import parsedatetime
from orchestration import dbt_process
built = []
class Counted(parsedatetime.Constants):
    def __init__(self, *arguments, **values):
        built.append(arguments)
        super().__init__(*arguments, **values)
parsedatetime.Constants = Counted
if sys.argv[1] == "spared":
    dbt_process.read_dates_by_one_parser()
import agate
texts = ["2024-02-29", "yesterday's", "3 May 2024", "2024-05-01 10:20:30", "31.12.2023", "x"]
for kind in (agate.Date(), agate.Date(), agate.DateTime()):
    for text in texts:
        try:
            print(repr(kind.cast(text)))
        except agate.CastError:
            print("no date:", text)
print(len(built))
"""
    usual, spared = said_by(program)
    assert usual[:-1] == spared[:-1] and "datetime.date(2024, 2, 29)" in usual
    assert int(usual[-1]) >= 3 and spared[-1] == "1"


TEMPLATES = """
import json, sys
from pathlib import Path
import jinja2
from dbt.clients.jinja import get_rendered, get_template
from orchestration import dbt_process
made = []
generate = jinja2.Environment._generate
def counted(self, *arguments, **values):
    made.append(type(self).__name__)
    return generate(self, *arguments, **values)
jinja2.Environment._generate = counted
if sys.argv[1] == "spared":
    dbt_process.compile_templates_once(Path(sys.argv[2]) if len(sys.argv) > 2 else None)
texts = ["{{ 1 + 1 }} {% for x in y %}{{ x }},{% endfor %}", "{{ y }}", "{% set z = y %}é{{ z | length }}"]
said = []
for _ in range(2):
    for text in texts:
        for native in (False, True):
            said.append(repr(get_rendered(text, {"y": [1, 2, 3]}, native=native)))
            said.append(repr(get_rendered(text, {"y": ["a"]}, native=native)))
    try:
        get_template("{% if %}", {})
    except Exception as error:
        said.append(f"{type(error).__name__}: {error}")
print(json.dumps([said, made]))
"""


def rendered(*arguments: object) -> tuple[list[str], list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", TEMPLATES, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    said, made = json.loads(done.stdout)
    return said, made


def test_templates_say_the_same_and_are_compiled_once(tmp_path: Path) -> None:
    said, made = rendered("usual")
    assert said[0] == "'2 1,2,3,'" and any("CompilationError" in each for each in said)
    once = made[:12:2]
    assert rendered("spared") == (said, once), "a text, native or not, once"
    folder = tmp_path / "new" / "templates"
    assert rendered("spared", folder) == (said, once)
    assert rendered("spared", folder) == (said, []), "another process finds them"
    for damaged in (lambda code: code[:-5], lambda code: code[:30], lambda code: bytes(len(code)), lambda code: b""):
        kept = list(folder.glob("*/*.code"))
        assert len(kept) == len(once)
        for path in kept:
            path.write_bytes(damaged(path.read_bytes()))
        assert rendered("spared", folder) == (said, once), "what was damaged is made again"
        assert rendered("spared", folder) == (said, []), "and kept"
    (kept_of_others,) = folder.iterdir()
    kept_of_others.rename(folder / "1.0-1.0-1.0")
    assert rendered("spared", folder) == (said, once), "other packages make other code"
    occupied = tmp_path / "file"
    occupied.write_text("")
    assert rendered("spared", occupied) == (said, once), "where nothing can be kept, as without"


def test_macros_are_copied_as_before() -> None:
    program = """
import json, sys
from types import SimpleNamespace
from dbt.clients.jinja import MacroStack
from dbt.context.configured import ConfiguredContext
from dbt.context.macro_resolver import TestMacroNamespace
from dbt.context.macros import MacroNamespace, MacroNamespaceBuilder
from dbt.context.manifest import ManifestContext
from orchestration import dbt_process
looked_up = []
get = MacroNamespace.__getitem__
MacroNamespace.__getitem__ = lambda self, name: looked_up.append(name) or get(self, name)
ConfiguredContext.to_dict = lambda self: {"before": 1, "a": 2}
if sys.argv[1] == "spared":
    dbt_process.copy_macros_at_once()

def said(value):
    if isinstance(value, dict):
        return {name: said(each) for name, each in value.items()}
    return value.macro.package_name + "." + value.macro.name if hasattr(value, "macro") else value

names = {"project": ["a", "b"], "package": ["a", "c", "project"], "dbt": ["a", "d", "e"], "dbt_duckdb": ["d", "c"]}
macros = {package: {name: SimpleNamespace(name=name, package_name=package) for name in found}
          for package, found in names.items()}
for here in ("project", "package", "dbt"):
    context = object.__new__(ManifestContext)
    builder = MacroNamespaceBuilder("project", here, MacroStack(), ["dbt_duckdb", "dbt"], None)
    context.namespace = builder.build_namespace(macros, {})
    print(json.dumps(said(context.to_dict()), sort_keys=True))
context.namespace = object.__new__(TestMacroNamespace)
context.namespace.local_namespace, context.namespace.project_namespace = {"a": 3}, {"f": 4}
print(json.dumps(context.to_dict(), sort_keys=True))
print(len(looked_up))
"""
    usual, spared = said_by(program)
    assert usual[:-1] == spared[:-1] and '"package.a"' in usual[1] and '"dbt_duckdb.d"' in usual[0]
    assert int(usual[-1]) > 10 and spared[-1] == "0"
