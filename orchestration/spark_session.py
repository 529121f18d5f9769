"""The Spark session that dbt opens: where it is, and what it may use.

Belongs here: settings of the session that change no number. Does not: those that do (dbt_project/profiles.yml).
"""

import os
from pathlib import Path

CONNECT = "sc://"
"""How the URL of a Spark Connect server begins."""


def session_settings(url: str, work: Path, tables: Path) -> dict[str, str]:
    """Spark's settings by name. work: a folder for what the session itself keeps; tables: where tables lie.

    Where SPARK_CONF_DIR is set, its files say which catalog holds the tables; otherwise it is a Derby database in work,
    which serves one session at a time.
    """
    if url.startswith(CONNECT):
        # Everything else is the server's.
        return {"spark.remote": url}
    settings = {
        "spark.master": url,
        "spark.app.name": "message-tracking-warehouse",
        "spark.ui.enabled": "false",
        "spark.log.level": "ERROR",
        # It would be drawn into the lines that dbt tells the pipeline what it built with, and spoil them.
        "spark.ui.showConsoleProgress": "false",
    }
    if not os.environ.get("SPARK_CONF_DIR"):
        settings |= {
            "spark.driver.memory": "2g",
            "spark.driver.extraJavaOptions": f"-Dderby.stream.error.file={work / 'derby.log'}",
            "spark.sql.warehouse.dir": str(tables / "managed"),
            "spark.hadoop.javax.jdo.option.ConnectionURL": f"jdbc:derby:;databaseName={work / 'metastore'};create=true",
        }
    return settings
