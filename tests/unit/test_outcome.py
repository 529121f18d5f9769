"""How a run ended, in one line."""

import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError

from orchestration.outcome import outcome_of


@pytest.mark.parametrize("raised", [DagsterExecutionInterruptedError, KeyboardInterrupt])
def test_an_interrupted_run_says_so(raised: type[BaseException]) -> None:
    @dg.op
    def models() -> None:
        raise raised

    @dg.job
    def one_step() -> None:
        models()

    result = one_step.execute_in_process(raise_on_error=False)
    outcome = outcome_of(result.run_id, result.success, result.all_events)
    assert (outcome.success, outcome.failed_step) == (False, "models")
    assert outcome.failure == "interrupted in step models; the next run goes on from what it left"
