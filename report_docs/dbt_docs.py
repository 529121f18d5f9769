"""dbt's own documentation as one HTML file: every model, column, test and the lineage between them.

Belongs here: having dbt write it. Does not: what it says.
"""

import os
import shutil
import subprocess
from pathlib import Path

from orchestration.dbt import DBT, DbtError, prepare_manifest, told_alone
from orchestration.settings import Settings
from orchestration.text import plain

FILE = "static_index.html"


def build_dbt_docs(settings: Settings, folder: Path) -> Path:
    """Write the file into folder, for the warehouse of the settings, whose models have to be built.

    Opens the working database for writing: nothing else may have it open. Raises DbtError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # What is parsed already is not parsed again, nor compiled, which would take ten times as long: the SQL of each
    # model as it runs is in the published file, in meta.model_sql.
    parsed = prepare_manifest(settings).parent
    for name in ("manifest.json", "partial_parse.msgpack"):
        shutil.copy(parsed / name, folder)
    result = subprocess.run(
        [
            *(*DBT, "--no-use-colors", "--no-send-anonymous-usage-stats"),
            *("docs", "generate", "--static", "--no-compile"),
            *("--project-dir", str(settings.dbt_project_dir), "--profiles-dir", str(settings.dbt_project_dir)),
            *("--target", settings.engine, "--target-path", str(folder), "--log-path", str(folder)),
        ],
        cwd=settings.dbt_project_dir,
        # As the project is parsed for the pipeline: other variables would make the parser's cache void.
        env={**os.environ, **settings.environment(), **told_alone(settings)},
        capture_output=True,
        text=True,
    )
    if result.returncode != 0:
        raise DbtError(f"dbt docs failed: {plain(result.stdout.strip()[-400:], 400)}; look into {folder}")
    return folder / FILE
