"""A process of Spark's own environment that builds the models when told to: one Spark session for all builds.

Each line of its input is a JSON list of further arguments for dbt. Its answer is a line: ANSWER and a JSON object with
`failed`, one text per node that failed, and `executors`, the hosts and ports of the executors that have run tasks.
"""

import json
import sys

from dbt.cli.main import dbtRunner

ANSWER = "ANSWER "


def main(project: str, target: str) -> None:
    for line in sys.stdin:
        result = dbtRunner().invoke(
            [
                *("--quiet", "build"),
                *("--project-dir", project, "--profiles-dir", project, "--target", "spark"),
                *("--target-path", target, "--log-path", target, *json.loads(line)),
            ]
        )
        nodes = getattr(result.result, "results", None) or []
        failed = [f"{node.node.name}: {node.message}" for node in nodes if node.status in ("error", "fail")]
        if not result.success and not failed:
            failed = [str(result.exception) if result.exception else "dbt failed without a node"]
        print(ANSWER + json.dumps({"failed": failed, "executors": executors()}), flush=True)


def executors() -> list[str]:
    """Of a session in this process; a client of Spark Connect cannot ask."""
    from pyspark import SparkContext

    context = SparkContext._active_spark_context
    if context is None:
        return []
    told = context._jsc.sc().statusStore().executorList(True)
    return sorted(
        str(told.apply(at).hostPort()) for at in range(told.size())
        if told.apply(at).totalTasks() > 0 and told.apply(at).id() != "driver"
    )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
