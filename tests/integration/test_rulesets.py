"""`mtw run --ruleset … --compare`: what a candidate would change is shown, and nothing is changed."""

import csv
import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestration import rulesets
from orchestration.cli import main
from orchestration.lock import PipelineLock, PipelineLocked
from orchestration.settings import Settings
from tests.loglines import line, logs
from tests.marts import PROJECT, build_marts

SPRING, AUTUMN = 0x51, 0x52
SHOP, LEAVE = 0x10, 0x11


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Spring: message 1 clicks three times within a second, which is no burst by the rules as they are; message 2 once.

    Autumn: message 3 opts out once.
    """
    base = tmp_path_factory.mktemp("rulesets")
    landing, project = base / "landing", base / "project"
    hits = [(1, SPRING, SHOP, f"00.{n}00") for n in range(3)]
    hits += [(2, SPRING, SHOP, "30.000"), (3, AUTUMN, LEAVE, "40.000")]
    lines = [
        line(n, message=message, delivery=delivery, url=url, at=f"2024-05-01T10:00:{at}")
        for n, (message, delivery, url, at) in enumerate(hits)
    ]
    logs(landing, "redir1/0x0000000000000000.log", *lines)
    for entity, text in {
        "deliveries": f"delivery_id,label\n{SPRING},=Spring\n{AUTUMN},Autumn\n",
        "messages": "message_id,delivery_id,recipient_id,status\n"
        + f"1,{SPRING},1,1\n2,{SPRING},2,1\n3,{AUTUMN},3,1\n",
        "tracked_urls": f"url_id,delivery_id,url_type\n{SHOP},{SPRING},1\n{LEAVE},{AUTUMN},3\n",
    }.items():
        (landing / "reference" / entity).mkdir(parents=True)
        (landing / "reference" / entity / "all.csv").write_text(text)
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    build_marts(landing, base / "warehouse", project=project)
    return Settings(landing_dir=landing, warehouse_dir=base / "warehouse", dbt_project_dir=project)


@pytest.fixture
def candidate(settings: Settings, tmp_path: Path) -> Iterator[Path]:
    """A folder that says: three clicks within a second are a burst."""
    folder = tmp_path / "candidate"
    folder.mkdir()
    with (PROJECT / "seeds" / "machine_rules.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row["ruleset_version"] = "99"
        if row["kind"] == "burst_events":
            row["min_count"] = "3"
    with (folder / "machine_rules.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    yield folder


def digests(settings: Settings) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in (settings.warehouse_dir, settings.dbt_project_dir)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != settings.lock_path and not path.name.startswith("ledger.sqlite-")
    }


def test_what_a_candidate_changes_is_shown_and_nothing_is_changed(
    settings: Settings, candidate: Path, tmp_path: Path
) -> None:
    before = digests(settings)
    found = rulesets.compare(settings, str(candidate))
    assert digests(settings) == before
    assert found.verdicts == [("", "burst", 3)]
    changed = {(one.delivery_id, one.indicator): (one.old, one.new) for one in found.deliveries}
    assert changed == {
        (SPRING, "human_total_click_count"): (4, 1),
        (SPRING, "human_recipient_click_count"): (2, 1),
        (SPRING, "human_recipient_open_count"): (2, 1),
        (SPRING, "human_delivered_recipient_open_count"): (2, 1),
        (SPRING, "human_estimated_recipient_open_count"): (2, 1),
        (SPRING, "machine_only_open_count"): (0, 1),
        # The lines carry one cookie: one person, who still has a human click, less the recipients who clicked. The
        # projection says 2 as before: the other message was read, so both would have been.
        (SPRING, "human_forward_estimate"): (-1, 0),
    }
    totals = {one.name: (one.deliveries, one.old_total, one.new_total) for one in found.indicators}
    assert totals["human_total_click_count"] == (1, 4, 1)
    assert totals["human_recipient_click_count"] == (1, None, None), "distinct counts do not add up"
    found.write(tmp_path / "changes.csv")
    with (tmp_path / "changes.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["indicator"] for row in rows} == {indicator for _, indicator in changed}
    assert {row["delivery_label"] for row in rows} == {"'=Spring"}, "no formula for a spreadsheet"


def test_nothing_is_compared_while_a_run_is_at_work(settings: Settings, candidate: Path) -> None:
    with PipelineLock(settings.lock_path), pytest.raises(PipelineLocked):
        rulesets.compare(settings, str(candidate))


def test_a_ruleset_that_cannot_be_used_is_named(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no ruleset 'absent': make the folder"):
        rulesets.compare(settings, "absent")
    with pytest.raises(ValueError, match=r"holds no \.csv"):
        rulesets.compare(settings, str(tmp_path))
    (tmp_path / "url_types.csv").write_text("url_type\n")
    with pytest.raises(ValueError, match="is no part of a ruleset"):
        rulesets.compare(settings, str(tmp_path))
    (tmp_path / "url_types.csv").rename(tmp_path / "known_bots.csv")
    with pytest.raises(ValueError, match="run: mtw run"):
        rulesets.compare(replace(settings, warehouse_dir=tmp_path / "none"), str(tmp_path))


def test_the_example_is_a_whole_newer_set_of_rules() -> None:
    def rows(path: Path) -> list[dict[str, str]]:
        with path.open(newline="") as stream:
            return list(csv.DictReader(stream))

    live, example = (rows(PROJECT / place / "machine_rules.csv") for place in ("seeds", "rulesets/candidate"))
    assert [(row["rule"], row["kind"]) for row in example] == [(row["rule"], row["kind"]) for row in live]
    assert min(int(row["ruleset_version"]) for row in example) > max(int(row["ruleset_version"]) for row in live)


@pytest.mark.parametrize(
    ("arguments", "word"), [(["--compare"], "--ruleset"), (["--ruleset", "candidate"], "copy its files")]
)
def test_wrong_usage(arguments: list[str], word: str) -> None:
    done = CliRunner().invoke(main, ["run", *arguments])
    assert done.exit_code == 2
    assert word in done.output
