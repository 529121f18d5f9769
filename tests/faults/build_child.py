"""A dbt build in a process of its own that is killed at its n-th step: see trials.

Steps are before and after every COMMIT that dbt sends to DuckDB, and between the statements of those that take rows out
of a model and put others in: that is where a build's state on disk changes.

A trial: <n> <landing> <warehouse> <selectors, comma-separated> <"full" or "">. n = 0: to the end.
"""

from pathlib import Path
from typing import Any

from dbt.adapters.duckdb.connections import DuckDBConnectionManager

from tests.faults.trials import kill_me, serve
from tests.marts import PROJECT, build_marts, parsed


def interrupt(at: int) -> None:
    count = 0
    original = DuckDBConnectionManager.add_query

    def step() -> None:
        nonlocal count
        count += 1
        if count == at:
            kill_me()

    def add_query(self: DuckDBConnectionManager, sql: str, *arguments: Any, **keywords: Any) -> Any:
        if sql == "COMMIT":
            step()
            done = original(self, sql, *arguments, **keywords)
            step()
            return done
        if "delete from" in sql and "insert into" in sql:
            *first, last = [part for part in sql.split(";\n") if part.strip()]
            for part in first:
                original(self, part, *arguments, **keywords)
                step()
            sql = last
        return original(self, sql, *arguments, **keywords)

    DuckDBConnectionManager.add_query = add_query


def trial(at: str, landing: str, warehouse: str, selectors: str, kind: str) -> None:
    interrupt(int(at))
    # Two models at a time, as the pipeline has it: one dies in the middle of the other.
    build_marts(Path(landing), Path(warehouse), select=selectors.split(","), full_refresh=kind == "full", threads=2)


if __name__ == "__main__":
    parsed(PROJECT, Path("/nowhere"))
    serve(trial)
