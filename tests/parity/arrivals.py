"""The same files for both engines, in steps: what comes first, and what a warehouse has to get right afterwards."""

import csv
import shutil
from pathlib import Path

from log_ingest.sample import write_sample
from tests.conftest import ROOT


class Arrivals:
    """A sample whose files arrive in steps in one landing folder, which both engines' landed rows come from."""

    def __init__(self, base: Path, *, events: int) -> None:
        self.sample = base / "sample"
        self.landing = base / "landing"
        self.project = base / "dbt_project"
        write_sample(self.sample, events=events, seed=7)
        shutil.copytree(ROOT / "dbt_project", self.project, ignore=shutil.ignore_patterns("target", "logs"))
        self.landing.mkdir()

    def _bring(self, *patterns: str, without: tuple[str, ...] = ()) -> int:
        kept_back = {path for pattern in without for path in self.sample.glob(pattern)}
        brought = 0
        for pattern in patterns:
            for path in sorted(set(self.sample.glob(pattern)) - kept_back):
                target = self.landing / path.relative_to(self.sample)
                if path.is_file() and not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(path, target)
                    brought += 1
        assert brought
        return brought

    def _late(self) -> tuple[str, ...]:
        """The first file of each source of lines: the oldest events, which come last."""
        found = []
        for folder in (
            *self.sample.glob("tracking_logs/*"),
            *self.sample.glob("access_logs/*"),
            *self.sample.glob("esp_events/*"),
        ):
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            found.append(str(files[0].relative_to(self.sample)))
        return tuple(found)

    def initial(self) -> None:
        """Full extracts, and of each source of lines the file in the middle."""
        self._bring("reference/*/*full*")
        for pattern in ("tracking_logs/*", "access_logs/*", "esp_events/*"):
            for folder in self.sample.glob(pattern):
                files = sorted(path for path in folder.rglob("*") if path.is_file())
                self._bring(str(files[len(files) // 2].relative_to(self.sample)))

    def incremental(self) -> None:
        """What is newer."""
        self._bring("tracking_logs/**/*", "access_logs/**/*", "esp_events/**/*", without=self._late())

    def late(self) -> None:
        """The oldest lines of all."""
        self._bring(*self._late())

    def references(self) -> None:
        """Newer extracts: messages change their status, links their type, deliveries their content; some are new."""
        self._bring("reference/*/*incremental*")

    def rule(self) -> None:
        """An analyst takes other thresholds and one more crawler."""
        path = self.project / "seeds" / "machine_rules.csv"
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        for row in rows:
            row["ruleset_version"] = str(int(row["ruleset_version"]) + 1)
            if row["kind"] == "burst_events":
                row["window_seconds"] = "600"
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        with (path.with_name("known_bots.csv")).open("a", encoding="utf-8") as stream:
            stream.write("iphone,false,\"A test's; it isn't one\"\n")
