"""dbt without what it does for nothing writes the same logs, at every level, and makes fewer messages."""

import json
import subprocess
import sys

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
    usual, spared = (
        subprocess.run(
            [sys.executable, "-c", program, how], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        for how in ("usual", "spared")
    )
    assert usual[:-1] == spared[:-1] and "datetime.date(2024, 2, 29)" in usual
    assert int(usual[-1]) >= 3 and spared[-1] == "1"
