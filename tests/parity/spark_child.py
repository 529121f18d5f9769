"""A process of Spark's own environment that builds the models when told to: one Spark session for all builds.

Each line of its input is a JSON list of further arguments for dbt. Its answer is a line: ANSWER and a JSON list, which
has a text per node that failed.
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
        print(ANSWER + json.dumps(failed), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
