"""Great Expectations over a bounded data frame: reads a suite from YAML, runs it, returns verdicts.

Belongs here: everything that touches great_expectations, which takes seconds to import: only inside functions.
Does not: which rows are looked at (landed, marts).

A suite (suites/<name>.yml) has a `table`, the `identify` columns that name an offending row, optional `derived`
columns (name: SQL) for rules over more than one column, and `expectations` as Great Expectations writes them, each with
a severity and a `rule`: the sentence that people read.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from orchestration.checks.verdicts import SHOWN_ROWS, Severity, Verdict

if TYPE_CHECKING:
    import pandas as pd

SUITES_DIR = Path(__file__).with_name("suites")


@dataclass(frozen=True)
class Suite:
    """One suite file. expectations are dicts with type, kwargs, severity and rule."""

    name: str
    table: str
    description: str
    expectations: list[dict[str, Any]]
    identify: tuple[str, ...] = ()
    derived: dict[str, str] = field(default_factory=dict)


def load(name: str) -> Suite:
    facts = yaml.safe_load((SUITES_DIR / f"{name}.yml").read_text(encoding="utf-8"))
    return Suite(name=name, **{**facts, "identify": tuple(facts.get("identify", ()))})


def load_all(prefix: str) -> list[Suite]:
    """Suites whose file name starts with a prefix, by name."""
    return [load(path.stem) for path in sorted(SUITES_DIR.glob(f"{prefix}*.yml"))]


@functools.cache
def _context() -> Any:
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    return context


def run(suite: Suite, frame: "pd.DataFrame", extra: Sequence[dict[str, Any]] = ()) -> list[Verdict]:
    """Run a suite (and further expectations) over a frame; one verdict for each expectation, in order."""
    import great_expectations as gx

    context = _context()
    expectations = [*suite.expectations, *extra]
    names = {f"rule-{index}": expectation for index, expectation in enumerate(expectations)}
    gx_suite = gx.ExpectationSuite(
        name=suite.name,
        expectations=[
            {
                "type": expectation["type"],
                "kwargs": expectation["kwargs"],
                "severity": expectation.get("severity", "critical"),
                "meta": {"id": name},
            }
            for name, expectation in names.items()
        ],
    )
    source = context.data_sources.add_or_update_pandas(suite.name)
    batch = (
        source.add_dataframe_asset("rows").add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    )
    identify = [column for column in suite.identify if column in frame.columns]
    result = batch.validate(
        gx_suite,
        result_format={
            "result_format": "COMPLETE",
            "partial_unexpected_count": SHOWN_ROWS,
            **({"unexpected_index_column_names": identify} if identify else {}),
        },
    )
    by_name = {found.expectation_config.meta["id"]: found for found in result.results}
    return [_verdict(expectation, by_name[name], set(frame.columns)) for name, expectation in names.items()]


def _verdict(expectation: dict[str, Any], found: Any, columns: set[str]) -> Verdict:
    severity: Severity = expectation.get("severity", "critical")
    rule = expectation["rule"]
    if found.success:
        return Verdict(rule, True, severity)
    # A rule that raised is not a violated rule: the data could not be looked at.
    raised = found.exception_info or {}
    messages = [
        info["exception_message"]
        for info in ([raised] if "raised_exception" in raised else raised.values())
        if info.get("raised_exception")
    ]
    if messages:
        needed = {value for key, value in expectation["kwargs"].items() if key.startswith("column")}
        missing = sorted(value for value in needed if isinstance(value, str) and value not in columns)
        problem = f"column {', '.join(missing)} is missing" if missing else str(messages[0]).splitlines()[0]
        return Verdict(rule, False, severity, problem=problem)
    details = found.result.get("details", {}).get("mismatched", {})
    if details:
        text = "; ".join(f"{kind}: {', '.join(map(str, values))}" for kind, values in details.items() if values)
        return Verdict(rule, False, severity, problem=f"columns differ, {text}")
    sample = found.result.get("partial_unexpected_index_list") or [
        {"value": value} for value in found.result.get("partial_unexpected_list", [])
    ]
    return Verdict(
        rule,
        False,
        severity,
        offending=int(found.result.get("unexpected_count") or 0),
        sample=[row if isinstance(row, dict) else {"row": row} for row in sample[:SHOWN_ROWS]],
    )
