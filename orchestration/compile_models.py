"""dbt compile of every model, as a program: orchestration.model_sql starts it in a process of its own.

Belongs here: that process, and as few imports as it needs; Dagster would take it a second more. Does not: what the SQL
is for.
"""

import json
import sys
from pathlib import Path
from typing import Any

from dbt.cli.main import dbtRunner
from dbt.contracts.graph.manifest import Manifest

from orchestration import dbt_process


def main(project_dir: str, target: str, parsed: str, folder: str) -> None:
    """Compile every model of a project into folder/compiled.json. parsed: the parser's work, where there is such."""
    dbt_process.spare()
    manifest = Manifest.from_msgpack(Path(parsed).read_bytes()) if Path(parsed).is_file() else None
    result = dbtRunner(manifest=manifest).invoke(
        [
            # Lines for a log cost their making, and nobody reads them here.
            *("--quiet", "--log-level", "none", "--log-level-file", "none"),
            *("compile", "--select", "resource_type:model", "--target", target),
            *("--project-dir", project_dir, "--profiles-dir", project_dir),
            *("--target-path", f"{folder}/target", "--log-path", f"{folder}/target"),
        ]
    )
    results: Any = getattr(result.result, "results", None)
    if results is None:
        raise SystemExit(str(result.exception))
    compiled = {each.node.unique_id: each.node.compiled_code for each in results if each.node.compiled_code}
    (Path(folder) / "compiled.json").write_text(json.dumps(compiled), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
