"""The dbt-duckdb plugin that lets models read landed rows in a bucket. profiles.yml names it only where they are there.

How they are read does not belong here (log_ingest).
"""

import os
from pathlib import Path

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin

from log_ingest.storage import let_read, parse_location


class Plugin(BasePlugin):
    """dbt calls it for each connection that it opens."""

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        let_read(conn, parse_location(os.environ["MTW_LANDED_DIR"], Path.cwd()))
