"""How a run tells the one who started it what it is doing, beside Dagster's own event log.

Belongs here: the silent reporter that assets talk to. The drawing one belongs to the command line.
"""

from log_ingest.progress import NullProgress, Progress
from log_ingest.report import IngestReport
from orchestration.build_state import Plan


class RunReporter:
    """Receives the stages of a run and keeps what ingest and planning found. Draws nothing."""

    def __init__(self) -> None:
        self.progress: Progress = NullProgress()
        self.ingest_report: IngestReport | None = None
        self.plan: Plan | None = None
        self.notes: list[str] = []

    def stage(self, name: str) -> None:
        """A stage begins: "ingest", "check landed rows", "build", "check marts", "publish"."""

    def note(self, text: str) -> None:
        """Something beside the run that did not work, such as sending an alert: one line for whoever started it."""
        self.notes.append(text)

    def built(self, done: int, total: int) -> None:
        """Models, seeds and tests that dbt has finished, of all that it will run."""
