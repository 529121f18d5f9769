"""`make eval`: how often the machine rules and the device parser are right, on labels that others gave.

Usage: python -m benchmarks.verdicts [--only PART] [--events N] [--misses N] [--packages DIR]. Prints a table per part,
the goals beside the figures; --misses shows what was missed.
Belongs here: what is compared with which labels. Does not: the labelled sets, other parsers, and any rule: verdicts
come out of the project's own code, parsed and landed by log_ingest and judged by the models of dbt_project.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar
from unittest.mock import patch

import duckdb
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks import parsers
from benchmarks.labelled_sets import (
    BROWSER,
    CRAWLER,
    LabelledSet,
    Packages,
    labelled_sets,
    normal_browser,
    normal_system,
)
from log_ingest.landing import Landing
from log_ingest.ledger import Commit, Ledger
from log_ingest.sample import generate
from log_ingest.sample.truth import Truth
from log_ingest.sample.user_agents import RULE_NAMES
from log_ingest.user_agent_lists import crawler_lists
from log_ingest.user_agents import MAX_PARSED_CHARACTERS, describe

ROOT = Path(__file__).parents[1]
PEER_TEXTS = 1_000
"""Of a set, how many texts the other parsers are asked for: some take ten milliseconds each."""

PARTS: dict[str, Callable[["Evaluation"], None]] = {}


def part(function: Callable[["Evaluation"], None]) -> Callable[["Evaluation"], None]:
    PARTS[function.__name__.strip("_")] = function
    return function


class Evaluation:
    """One run: its folder, its console, the labelled sets."""

    def __init__(self, base: Path, arguments: argparse.Namespace) -> None:
        self.base, self.arguments = base, arguments
        self.console = Console(width=140)
        self._sets: list[LabelledSet] | None = None
        self._packages: Packages | None = None

    @property
    def packages(self) -> Packages:
        if self._packages is None:
            self.console.print("Fetching the packages that hold labelled sets …")
            self._packages = Packages(self.arguments.packages or self.base / "packages")
            for name in self._packages.missing:
                self.console.print(f"[red]not to be had, its sets and figures are left out: {escape(name)}[/red]")
        return self._packages

    @property
    def sets(self) -> list[LabelledSet]:
        if self._sets is None:
            self._sets = list(labelled_sets(self.packages))
        return self._sets

    def table(self, title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
        table = Table(title=title, title_justify="left")
        for column in columns:
            table.add_column(column, justify="left" if column in ("set", "kind", "rule", "parser", "list") else "right")
        for row in rows:
            table.add_row(*(escape(str(cell)) for cell in row))
        self.console.print(table)

    def show(self, title: str, texts: Iterable[str]) -> None:
        """A sample of what was missed, where asked for."""
        texts = sorted(texts)
        if self.arguments.misses and texts:
            chosen = random.Random(7).sample(texts, min(len(texts), self.arguments.misses))
            self.console.print(f"{escape(title)} ({len(texts)}):")
            for text in sorted(chosen):
                self.console.print(f"   {escape(ascii(text)[1:-1][:200])}", highlight=False)


@part
def _user_agents(run: Evaluation) -> None:
    """The rules that look at the user agent alone."""
    verdicts = judged(run.base / "agents", {member.text for found in run.sets for member in found.members})
    rows = []
    for found in run.sets:
        rules = [verdicts[member.text] for member in found.members]
        flagged = sum(rule is not None for rule in rules)
        by_rule = Counter(rule for rule in rules if rule is not None)
        rows.append(
            (
                *(found.name, found.kind, len(rules), flagged, f"{flagged / len(rules):.4%}"),
                _goal(found),
                ", ".join(f"{rule} {count}" for rule, count in by_rule.most_common()),
            )
        )
        wrong = [member.text for member in found.members if (verdicts[member.text] is None) == (found.kind == CRAWLER)]
        run.show(f"{found.name}: {'not flagged' if found.kind == CRAWLER else 'flagged'}", wrong)
    run.table(
        "Judged by user agent alone: recall on crawlers, false positives on the rest",
        ("set", "kind", "texts", "flagged", "rate", "goal", "by rule"),
        rows,
    )


def _goal(found: LabelledSet) -> str:
    return "≥ 98 %" if found.kind == CRAWLER else "≤ 0.1 %"


@part
def _lists(run: Evaluation) -> None:
    """Each list on every set: on its own it knows everything, on those of others it shows what it would miss."""
    lists = crawler_lists()
    rows = []
    for found in run.sets:
        if found.kind in (CRAWLER, BROWSER):
            texts = [member.text[:MAX_PARSED_CHARACTERS] for member in found.members]
            known = {name: {text for text in texts if find(text) is not None} for name, find in lists.items()}
            others = set().union(*(hits for name, hits in known.items() if not found.name.startswith(name)))
            everything = set().union(*known.values())
            rows.append(
                (
                    *(found.name, len(texts), *(f"{len(hits) / len(texts):.4f}" for hits in known.values())),
                    *(f"{len(others) / len(texts):.4f}", f"{len(everything) / len(texts):.4f}"),
                )
            )
    run.table(
        "Share of each set that the lists name (before proxies, mail clients and exceptions are taken out)",
        ("set", "texts", *lists, "all but its own", "all"),
        rows,
    )


@part
def _devices(run: Evaluation) -> None:
    """What the parser says of a device, next to the label; and what other parsers say of a part of the same texts."""
    labelled = [found for found in run.sets if any(member.device_class or member.system for member in found.members)]
    labelled = [found for found in labelled if found.kind != CRAWLER]
    rows = []
    for found in labelled:
        started = time.process_time()
        said = [
            (row["device_class"], row["os_name"], row["mail_client_name"] or row["browser_name"])
            for row in describe(
                [member.text for member in found.members], datetime.now(UTC).replace(tzinfo=None)
            ).to_pylist()
        ]
        rows.append((found.name, "this project", len(said), *_agreement(run, found, said), _micro(started, len(said))))
        few = LabelledSet(
            found.name, found.kind, tuple(random.Random(7).sample(found.members, min(len(found.members), PEER_TEXTS)))
        )
        for name in parsers.SCRIPTS:
            answer = parsers.ask(run.packages.python, name, [member.text for member in few.members])
            if answer is not None:
                cost = f"{answer.seconds / len(few.members) * 1e6:,.0f}"
                rows.append((found.name, name, len(few.members), *_agreement(None, few, answer.said), cost))
    run.table(
        "Agreement with the labels (goal for this project: device class ≥ 0.95)",
        ("set", "parser", "texts", "class", "system", "browser", "CPU µs / text"),
        rows,
    )


def _micro(started: float, count: int) -> str:
    return f"{(time.process_time() - started) / count * 1e6:,.0f}"


def _agreement(
    run: Evaluation | None, found: LabelledSet, said: list[tuple[str | None, str | None, str | None]]
) -> Iterator[str]:
    """Per aspect: the share of the texts with a label of which the parser says the same."""
    aspects: tuple[tuple[str, Callable, Callable], ...] = (
        ("device class", lambda member: member.device_class, lambda row: row[0]),
        ("system", lambda member: normal_system(member.system), lambda row: normal_system(row[1])),
        ("browser", lambda member: normal_browser(member.browser), lambda row: normal_browser(row[2])),
    )
    for name, label_of, said_of in aspects:
        pairs = [(label_of(member), said_of(row), member.text) for member, row in zip(found.members, said, strict=True)]
        pairs = [pair for pair in pairs if pair[0] is not None]
        wrong = [pair for pair in pairs if pair[0] != pair[1]]
        if run is not None:
            run.show(f"{found.name}: another {name}", (f"{label} → {ours}: {text}" for label, ours, text in wrong))
        yield f"{1 - len(wrong) / len(pairs):.4f}" if pairs else "–"


@part
def _sample(run: Evaluation) -> None:
    """Whole events: what the sample's generator decided, next to what was published."""
    landing, warehouse = run.base / "landing", run.base / "warehouse"
    run.console.print(f"Taking a sample of {run.arguments.events:,} events through the pipeline …")
    with patch.object(generate, "Truth", _RememberingTruth):
        _RememberingTruth.decided.clear()
        generate.write_sample(landing, events=run.arguments.events)
    subprocess.run(
        [str(Path(sys.executable).with_name("mtw")), "run"],
        env=_environment() | {"MTW_LANDING_DIR": str(landing), "MTW_WAREHOUSE_DIR": str(warehouse)},
        check=True,
        capture_output=True,
    )
    with duckdb.connect(os.path.realpath(warehouse / "published" / "marts.duckdb"), read_only=True) as con:
        published = Counter(
            (message, url, rule or "")
            for message, url, rule in con.execute(
                "select message_id, url_id, machine_rule from core.fct_tracking_events"
                " where coalesce(url_type, 0) not in (4, 5) and message_id <> 0"
            ).fetchall()
        )
    run.table(
        "Events of the sample (acts on messages; what matters is the last row)",
        ("rule", "decided", "published", "both", "recall", "precision"),
        _compared(_RememberingTruth.decided, published),
    )


Acts = Counter[tuple[int, int, str]]
"""Message, URL, rule ("" for people): how many acts. Not their time: a provider tells it a little differently."""


class _RememberingTruth(Truth):
    """The sample's truth, which also remembers act by act what the generator decided."""

    decided: ClassVar[Acts] = Counter()

    def _add(self, delivery, events, types, feed=None):  # type: ignore[no-untyped-def]
        known = events[events["message"] > 0]
        columns = (known[name].tolist() for name in ("message", "url", "rule"))
        for message, url, rule in zip(*columns, strict=True):
            self.decided[message, url, RULE_NAMES[rule]] += 1
        super()._add(delivery, events, types, feed)


def _compared(decided: Acts, published: Acts) -> Iterator[tuple[object, ...]]:
    for rule in sorted({key[2] for key in [*decided, *published]} - {""}):
        ours = Counter({key: count for key, count in published.items() if key[2] == rule})
        theirs = Counter({key: count for key, count in decided.items() if key[2] == rule})
        yield _rates(rule, theirs, ours)
    yield _rates("any rule", *(_machine_made(acts) for acts in (decided, published)))


def _machine_made(acts: Acts) -> Counter:
    total: Counter = Counter()
    for (message, url, rule), count in acts.items():
        if rule:
            total[message, url] += count
    return total


def _rates(rule: str, decided: Counter, published: Counter) -> tuple[object, ...]:
    both = (decided & published).total()
    return (
        *(rule, decided.total(), published.total(), both),
        f"{both / decided.total():.4f}" if decided else "–",
        f"{both / published.total():.4f}" if published else "–",
    )


def judged(folder: Path, texts: Iterable[str]) -> dict[str, str | None]:
    """Per user agent the machine rule that its text fulfils, by the project: parsed and landed, then judged by dbt."""
    folder.mkdir(parents=True)
    texts = sorted(texts)
    now = datetime.now(UTC).replace(tzinfo=None)
    with Ledger(folder / "ledger.sqlite") as ledger:
        ledger.start_run("eval")
        landing = Landing(folder, ledger)
        unit = landing.new_unit()
        unit.add_table("user_agents", describe(texts, now))
        landing.commit(unit, Commit("user_agents", "eval", accepted_count=len(texts)))
        landing.close()
    (folder / "work").mkdir()
    project = str(ROOT / "dbt_project")
    target = str(folder / "target")
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("dbt")), "--quiet", "build", "--select", "+int_user_agents__judged"),
            *("--project-dir", project, "--profiles-dir", project, "--target-path", target, "--log-path", target),
            *("--exclude-resource-type", "unit_test"),
        ],
        env=_environment() | {"MTW_WAREHOUSE_DIR": str(folder), "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    with duckdb.connect(str(folder / "work" / "warehouse.duckdb"), read_only=True) as con:
        return dict(con.execute("select user_agent, machine_rule from intermediate.int_user_agents__judged").fetchall())


def _environment() -> dict[str, str]:
    """Of this process, without the settings of a warehouse."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MTW_", "DAGSTER_", "DBT_"))}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verdicts", description=__doc__)
    parser.add_argument("--only", choices=sorted(PARTS), action="append", help="a part; all where not given")
    parser.add_argument("--events", type=int, default=60_000, help="size of the sample")
    parser.add_argument("--misses", type=int, default=0, metavar="N", help="show up to N misses of each kind")
    parser.add_argument("--packages", type=Path, help="where the labelled sets are kept, to fetch them once only")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Evaluation(Path(folder), arguments)
        for name, function in PARTS.items():
            if not arguments.only or name in arguments.only:
                function(run)


if __name__ == "__main__":
    main()
