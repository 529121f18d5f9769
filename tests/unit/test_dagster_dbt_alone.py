"""What a process of ours loads: dagster-dbt, and no dbt; the versions that it tells are right."""

import json
import subprocess
import sys
from importlib.metadata import version

PROGRAM = """
import json, sys
import orchestration.definitions
from dagster_shared.libraries import DagsterLibraryRegistry
loaded = sorted(name for name in sys.modules if name == "dbt" or name.startswith("dbt."))
import dbt.version
print(json.dumps([loaded, dict(DagsterLibraryRegistry.get()), dbt.version.__version__]))
"""


def test_definitions_are_loaded_without_dbt() -> None:
    told = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    loaded, libraries, afterwards = json.loads(told.stdout)
    # The namespace itself may be there: its absence was looked for in it.
    assert set(loaded) <= {"dbt"}
    assert libraries["dbt-core"] == version("dbt-core") and "dbt-fusion" not in libraries
    assert afterwards == version("dbt-core"), "who needs dbt later still finds it"
