"""dagster-dbt without dbt in this process.

Belongs here: its import, and what is taken of it. Does not: how dbt is run (dbt).

dagster-dbt reads dbt for a few types and to evaluate selections, which is more than a second at the start of every
run and code server. It knows both itself for where dbt's Python package is not installed. Nothing here needs more of
dbt in this process: dbt is a process of its own (dbt_process), and all of the project is selected.
"""

import sys
from importlib.metadata import version

_READ_FIRST = "dbt.version"
"""By this import dagster-dbt finds out whether there is a dbt."""

_loaded = sys.modules.get(_READ_FIRST)
sys.modules[_READ_FIRST] = None  # type: ignore[assignment]  # Python's own word for: cannot be imported
try:
    from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtCliResource, dbt_assets
finally:
    del sys.modules[_READ_FIRST]
    if _loaded is not None:
        sys.modules[_READ_FIRST] = _loaded

from dagster_shared.libraries import DagsterLibraryRegistry  # noqa: E402  (dagster_dbt comes first)

# Whoever looks at the code location's versions is to read which dbt it is.
DagsterLibraryRegistry._libraries.pop("dbt-fusion", None)
DagsterLibraryRegistry.register("dbt-core", version("dbt-core"), is_dagster_package=False)

__all__ = ["DagsterDbtTranslator", "DagsterDbtTranslatorSettings", "DbtCliResource", "dbt_assets"]
