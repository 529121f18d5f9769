"""Restatements: after each kind of change exactly the affected deliveries appear, with the values and causes that a
second computation in plain Python gives, and exactly they were rebuilt."""

import csv
import shutil
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from orchestration import restatements, row_changes
from orchestration.build_state import build_digest
from orchestration.dbt import load_manifest
from orchestration.model_sql import meta_tables, prepare_sql, row_wise_of
from orchestration.publish import publish
from orchestration.settings import Settings
from tests.loglines import BROWSER, line, logs
from tests.marts import PROJECT, build_marts, connect
from tests.projection import projection

NOON = datetime(2024, 5, 1, 12)
OTHER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0"
DELIVERIES = SPRING, SUMMER, AUTUMN, WINTER, LABEL, FORMAT, GROWTH, SHARE, QUIET = tuple(range(101, 110))
SHOP, SALE, LEAVE, MIRROR = 201, 202, 203, 204
NETWORKS = ("email", "facebook", "twitter", "delicious", "digg", "google", "linkedin")
KINDS = {SHOP: 1, SALE: 1, LEAVE: 3, MIRROR: 6}
SELECTED = ("+rpt_tracking_indicators", "fct_esp_events", "indicator_counts", "indicator_catalogue")


@dataclass(frozen=True)
class Event:
    pointer: int
    message: int
    delivery: int
    """As logged; 0: the line names none."""
    url: int
    at: datetime
    agent: str = BROWSER

    @property
    def visitor(self) -> str:
        return f"00000000-0000-4000-8000-{self.message:012d}"


@dataclass
class World:
    """What is true, told to the warehouse piece by piece; `indicators` is the second computation."""

    landing: Path
    messages: dict[int, dict] = field(default_factory=dict)
    urls: dict[tuple[int, int], int] = field(default_factory=dict)
    categories: dict[tuple[int, int], str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    machine_agents: set[str] = field(default_factory=lambda: {"Mozilla/5.0"})
    opt_out_types: set[int] = field(default_factory=lambda: {3})
    files: int = 0

    # -- telling

    def happen(self, *events: tuple[int, int, int, datetime], agent: str = BROWSER) -> None:
        """Lines of (message, delivery, url, time)."""
        made = [
            Event(0x1000 + len(self.events) + n, message, delivery, url, at, agent)
            for n, (message, delivery, url, at) in enumerate(events)
        ]
        self.events += made
        self.files += 1
        logs(
            self.landing,
            f"s5/{self.files}.log",
            *(
                line(
                    event.pointer, at=event.at.isoformat(timespec="milliseconds"), message=event.message,
                    delivery=event.delivery, url=event.url, visitor=event.visitor, agent=event.agent,
                )
                for event in made
            ),
        )  # fmt: skip

    def tell_messages(self, *rows: dict) -> None:
        for row in rows:
            self.messages[row["message_id"]] = row
        self._reference("messages", list(rows))

    def tell_urls(self, *rows: tuple[int, int, str, int], category: str = "") -> None:
        """(delivery, url, label, type)"""
        self.urls |= {(delivery, url): kind for delivery, url, _, kind in rows}
        self.categories |= {(delivery, url): category for delivery, url, _, _ in rows}
        columns = ("delivery_id", "url_id", "label", "url_type")
        self._reference("tracked_urls", [dict(zip(columns, row, strict=True), category=category) for row in rows])

    def tell_deliveries(self, *rows: dict) -> None:
        self._reference("deliveries", list(rows))

    def _reference(self, entity: str, rows: list[dict]) -> None:
        self.files += 1
        folder = self.landing / "reference" / entity
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{self.files:03d}.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    # -- the second computation

    def _delivery_of(self, event: Event) -> int:
        message = self.messages.get(event.message)
        return event.delivery or (message["delivery_id"] if message else 0)

    def _type_of(self, event: Event) -> int | None:
        return 2 if event.url == 1 else self.urls.get((self._delivery_of(event), event.url))

    def _network_of(self, event: Event) -> str:
        category = self.categories.get((self._delivery_of(event), event.url), "")
        return category if category in NETWORKS else ""

    def _is_machine(self, event: Event) -> bool:
        """By user agent, or two different links of one message in the same second."""
        links = {
            other.url
            for other in self.events
            if other.message == event.message
            and other.url != 1
            and other.at.replace(microsecond=0) == event.at.replace(microsecond=0)
        }
        return event.agent in self.machine_agents or (event.url != 1 and event.message != 0 and len(links) > 1)

    def indicators(self) -> dict[tuple[int, str], float | None]:
        """Every indicator of every delivery, by the definitions."""
        result: dict[tuple[int, str], float | None] = {}
        deliveries = {self._delivery_of(e) for e in self.events} | {m["delivery_id"] for m in self.messages.values()}
        for delivery in deliveries | set(DELIVERIES):
            sent = [m for m in self.messages.values() if m["delivery_id"] == delivery and m["status"] != 0]
            reached = {m["message_id"] for m in sent if m["status"] in (1, 3, 4)}
            values: dict[str, float | None] = {
                "to_deliver_count": len(sent),
                "success_count": sum(m["status"] in (1, 3, 4) for m in sent),
                "error_count": sum(m["status"] == 2 for m in sent),
                "complaint_count": sum(m["status"] == 2 and m["failure_reason"] == 8 for m in sent),
            }
            of_delivery = [e for e in self.events if self._delivery_of(e) == delivery]
            for prefix in ("", "human_"):
                events = [e for e in of_delivery if not prefix or not self._is_machine(e)]
                kinds = defaultdict(list)
                for event in events:
                    kinds[self._type_of(event)].append(event)
                opens = {e.message for kind in (1, 2, 3, 6, 11) for e in kinds[kind] if e.message}
                recipients = {e.message for e in kinds[1] if e.message}
                persons = {e.visitor for e in kinds[1]}
                values |= {
                    f"{prefix}recipient_open_count": len(opens),
                    f"{prefix}total_open_count": len(kinds[2]),
                    f"{prefix}delivered_recipient_open_count": len(opens & reached),
                    f"{prefix}delivered_total_open_count": sum(e.message in reached for e in kinds[2]),
                    f"{prefix}opt_out_click_count": sum(len(kinds[kind]) for kind in self.opt_out_types),
                    f"{prefix}mirror_page_click_count": len(kinds[6]),
                    f"{prefix}recipient_click_count": len(recipients),
                    f"{prefix}person_click_count": len(persons),
                    f"{prefix}total_click_count": len(kinds[1]),
                    f"{prefix}forward_estimate": len(persons) - len(recipients),
                    f"{prefix}share_count": sum(self._network_of(e) != "" for e in events),
                    **{
                        f"{prefix}{network}_share_count": sum(self._network_of(e) == network for e in events)
                        for network in NETWORKS
                    },
                    f"{prefix}raw_reactivity": len(recipients) / len(opens) if opens else None,
                }
            texts = sum(m["content_format"] == "text" for m in sent)
            values["text_to_deliver_count"] = texts
            html = len(sent) - texts
            for prefix in ("", "human_"):
                for name in ("recipient_open_count", "total_open_count"):
                    count = 2 * int(values[prefix + name] or 0) * len(sent)
                    values[f"{prefix}estimated_{name}"] = (count + html) // (2 * html) if html else 0
                clicks, opened = (
                    values[prefix + name] or 0 for name in ("recipient_click_count", "estimated_recipient_open_count")
                )
                values[f"{prefix}estimated_reactivity"] = clicks / opened if opened else None
            values |= projection(values)
            result |= {(delivery, name): value for name, value in values.items()}
        return result


@dataclass(frozen=True)
class Outcome:
    """What one run did. changed: numbers that differ from the former version, by the second computation."""

    changed: dict[tuple[int, str], tuple[float | None, float | None]]
    restated: dict[tuple[int, str], tuple[float, float | None, str]]
    """By delivery and indicator: old value, new value and reason."""
    rebuilt: set[int]

    def of(self, delivery: int) -> dict[str, tuple[float, float | None, str]]:
        return {name: row for (owner, name), row in self.restated.items() if owner == delivery}

    def expected(self, delivery: int, reason: str) -> dict[str, tuple[float | None, float | None, str]]:
        return {name: (*values, reason) for (owner, name), values in self.changed.items() if owner == delivery}


class Warehouse:
    """Runs the models after each change, publishes, and keeps what was recorded."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.project = root / "project"
        shutil.copytree(PROJECT, self.project, ignore=shutil.ignore_patterns("target", "logs"))
        self.world = World(root / "landing")
        self.warehouse = root / "warehouse"
        self.settings = Settings(root / "landing", self.warehouse, dbt_project_dir=self.project)
        self.numbers: dict[tuple[int, str], float | None] = {}

    def run(self, *, full_refresh: bool = False) -> Outcome:
        build_marts(
            self.root / "landing", self.warehouse, project=self.project, select=SELECTED, full_refresh=full_refresh
        )
        if full_refresh:
            (self.warehouse / "dbt-target" / "models.json").unlink()
        before, self.numbers = self.numbers, self.world.indicators()
        with connect(self.warehouse) as con:
            rebuilt = con.execute(
                "select delivery_id from state.touched_deliveries where model = 'rpt_tracking_indicators'"
                " and run_number = (select run_number from state.run_window)"
            ).fetchall()
        changed = {key: (old, self.numbers.get(key)) for key, old in before.items() if self.numbers.get(key) != old}
        return Outcome(changed, self.publish(), {delivery for (delivery,) in rebuilt})

    def publish(self) -> dict[tuple[int, str], tuple[float, float | None, str]]:
        """Publish what was built; returns what that restated."""
        manifest = self.warehouse / "dbt-target" / "manifest.json"
        self.publication = publish(
            self.settings.working_database, self.settings.published_dir, run_id=f"run-{self.world.files}", batch_id=1,
            build_digest=build_digest(self.settings), extra=meta_tables(prepare_sql(self.settings, manifest)),
            row_wise=row_wise_of(load_manifest(manifest), ())[0],
        )  # fmt: skip
        rows = self.query(
            "select delivery_id, indicator, old_value, new_value, reason from meta.restatements"
            f" where version = {self.publication.version}"
        )
        return {(delivery, indicator): tuple(rest) for delivery, indicator, *rest in rows}  # type: ignore[misc]

    def query(self, sql: str) -> list[tuple]:
        with duckdb.connect(str((self.settings.published_dir / "marts.duckdb").resolve()), read_only=True) as con:
            return con.execute(sql).fetchall()

    def published_numbers(self) -> dict[tuple[int, str], float | None]:
        with duckdb.connect(str((self.settings.published_dir / "marts.duckdb").resolve()), read_only=True) as con:
            rows = con.execute("select * exclude (delivery_label, sent_at) from reports.rpt_tracking_indicators")
            names = [column[0] for column in rows.description][1:]
            return {
                (row[0], name): value for row in rows.fetchall() for name, value in zip(names, row[1:], strict=True)
            }


def message(message_id: int, delivery_id: int, status: int = 1, reason: int = 0, form: str = "html") -> dict:
    return {
        "message_id": message_id, "delivery_id": delivery_id, "recipient_id": message_id + 1000,
        "address": f"{message_id}@mail.example", "status": status, "failure_reason": reason,
        "event_at": "2024-05-01 08:00:00", "content_format": form,
    }  # fmt: skip


def at(hours: float) -> datetime:
    return NOON + timedelta(hours=hours)


@dataclass(frozen=True)
class Story:
    """What happened in five runs, one after the other; the first publishes what the others change."""

    house: Warehouse
    is_same: list[bool]
    """After each run: whether the published numbers were those of the second computation."""
    changes: Outcome
    ruleset: Outcome
    mixture: Outcome
    models: Outcome


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    house = Warehouse(tmp_path_factory.mktemp("restatements"))
    world, is_same = house.world, []
    patched = pytest.MonkeyPatch()
    # A small world, of which each change is a large part.
    patched.setattr(row_changes, "MOST", 2)

    def run(**options: bool) -> Outcome:
        outcome = house.run(**options)
        published = house.published_numbers()
        is_same.append({key: published[key] for key in house.numbers} == house.numbers)
        assert not any(value for key, value in published.items() if key not in house.numbers)
        return outcome

    # Six deliveries of four messages each; everything up to noon.
    world.tell_deliveries(*({"delivery_id": d, "label": f"D{d}", "sent_at": "2024-05-01 08:00:00"} for d in DELIVERIES))
    world.tell_urls(*((d, url, f"link {url}", kind) for d in DELIVERIES for url, kind in KINDS.items()))
    world.tell_messages(
        *(message(d * 10 + n, d, form="text" if n == 3 else "html") for d in DELIVERIES for n in range(4))
    )
    for d in DELIVERIES:
        world.happen(
            (d * 10, d, 1, at(-3)), (d * 10, d, SHOP, at(-2.9)), (d * 10 + 1, d, 1, at(-2)),
            (d * 10 + 1, d, LEAVE, at(-1)), (d * 10 + 2, d, MIRROR, at(-1.5)), (d * 10 + 2, d, SHOP, at(0)),
        )  # fmt: skip
    world.happen((SPRING * 10, SPRING, SALE, at(-2)), (AUTUMN * 10 + 3, AUTUMN, SALE, at(-2)), agent=OTHER_AGENT)
    # The lines name no delivery, and their messages are not known yet.
    world.happen((7777, 0, 1, at(-1)), (8888, 0, 1, at(-0.5)))
    assert run().restated == {}

    # One kind of change for each delivery.
    world.happen((SPRING * 10 + 2, SPRING, 1, at(-2.5)), (SPRING * 10 + 3, SPRING, SHOP, at(-0.5)))
    world.happen((GROWTH * 10 + 1, GROWTH, SHOP, at(1)), (GROWTH * 10, GROWTH, 1, at(1.5)))
    world.tell_messages(message(7777, SUMMER))
    world.tell_urls((AUTUMN, SALE, "link 202", 3))
    world.tell_messages(message(WINTER * 10 + 1, WINTER, status=2, reason=8))
    world.tell_urls((LABEL, SHOP, "another label", 1))
    world.tell_messages(message(FORMAT * 10 + 2, FORMAT, form="text"))
    world.tell_urls((SHARE, SHOP, "link 201", 1), category="facebook")
    changes = run()

    rules = house.project / "seeds" / "machine_rules.csv"
    with rules.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    newest = {"ruleset_version": str(int(rows[0]["ruleset_version"]) + 1)}
    rows.append(dict(rows[-1], rule="in_house", kind="user_agent_exact", pattern=OTHER_AGENT, priority="15"))
    with rules.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | newest for row in rows)
    world.machine_agents.add(OTHER_AGENT)
    ruleset = run()

    # A late click makes a burst of an older one, another comes after the former version, and a message failed.
    world.happen((SUMMER * 10, SUMMER, SALE, at(-2.9)), (SUMMER * 10 + 1, SUMMER, SHOP, at(5)))
    world.tell_messages(message(SUMMER * 10 + 3, SUMMER, status=2, reason=1, form="text"))
    # Elsewhere only the late click; and the last event of the unknown delivery finds its own.
    world.happen((WINTER * 10, WINTER, SALE, at(-2.9)))
    world.tell_messages(message(8888, LABEL))
    mixture = run()
    assert house.publication.added == 1, "the first run after rules have changed copies all"
    patched.undo()

    counts = house.project / "models" / "marts" / "reports" / "rpt_tracking_indicators_by_domain.sql"
    counts.write_text(counts.read_text().replace("url_type = 3", "url_type in (3, 6)"))
    world.opt_out_types = {3, 6}
    return Story(house, is_same, changes, ruleset, mixture, run(full_refresh=True))


def test_the_second_computation_is_that_of_the_marts(story: Story) -> None:
    """Else the tests below would compare with something else."""
    assert story.is_same == [True] * 5


def test_growth_is_no_restatement(story: Story) -> None:
    assert (GROWTH, "total_click_count") in story.changes.changed
    assert story.changes.of(GROWTH) == {}


@pytest.mark.parametrize(
    ("delivery", "reason", "at_least"),
    [
        pytest.param(SPRING, "late data", {"total_open_count", "recipient_click_count"}, id="late lines"),
        pytest.param(SUMMER, "reference change", {"to_deliver_count", "total_open_count"}, id="late message"),
        pytest.param(0, "reference change", {"total_open_count"}, id="which leaves the unknown delivery"),
        pytest.param(
            AUTUMN, "reference change", {"opt_out_click_count", "total_click_count"}, id="link of another type"
        ),
        pytest.param(WINTER, "reference change", {"success_count", "error_count", "complaint_count"}, id="status"),
        pytest.param(
            FORMAT, "reference change", {"text_to_deliver_count", "estimated_recipient_open_count"}, id="format"
        ),
        pytest.param(SHARE, "reference change", {"share_count", "human_facebook_share_count"}, id="category of a link"),
        pytest.param(LABEL, "", set(), id="a label changes no number"),
    ],
)
def test_each_change_restates_its_delivery(story: Story, delivery: int, reason: str, at_least: set[str]) -> None:
    assert story.changes.of(delivery) == story.changes.expected(delivery, reason)
    assert set(story.changes.of(delivery)) >= at_least


def test_nothing_else_is_restated_or_rebuilt(story: Story) -> None:
    assert {delivery for delivery, _ in story.changes.restated} == {SPRING, SUMMER, 0, AUTUMN, WINTER, FORMAT, SHARE}
    assert story.changes.rebuilt == {0, *DELIVERIES} - {QUIET}


def test_a_changed_ruleset(story: Story) -> None:
    assert {delivery for delivery, _ in story.ruleset.restated} == {SPRING, AUTUMN}
    for delivery in (SPRING, AUTUMN):
        assert story.ruleset.of(delivery) == story.ruleset.expected(delivery, "ruleset")
        # Only what leaves machines out, and what is projected from it.
        of_verdicts = ("human_", "machine_only_", "projected_", "measurable_")
        assert all(name.startswith(of_verdicts) for name in story.ruleset.of(delivery))


def test_several_causes_are_named_for_the_numbers_that_they_changed(story: Story) -> None:
    found = story.mixture.of(SUMMER)
    reasons = {name: reason for name, (_, _, reason) in found.items()}
    assert reasons["total_click_count"] == "late data, new events"
    assert reasons["success_count"] == reasons["error_count"] == "reference change"
    # The one was known to click: only the new click of another message counts, which is growth.
    assert (SUMMER, "recipient_click_count") in story.mixture.changed
    assert "recipient_click_count" not in reasons
    # One human click less by the burst, one more after the former version.
    assert (SUMMER, "human_total_click_count") not in story.mixture.changed
    assert {name: values[:2] for name, values in found.items()} == {
        name: story.mixture.changed[SUMMER, name] for name in found
    }


def test_a_late_click_takes_a_human_click_away(story: Story) -> None:
    old, new, reason = story.mixture.of(WINTER)["human_total_click_count"]
    assert (old - (new or 0), reason) == (1, "late data")
    assert story.mixture.of(WINTER) == story.mixture.expected(WINTER, "late data")


def test_a_delivery_that_is_gone_says_why(story: Story) -> None:
    expected = {name: row for name, row in story.mixture.expected(0, "reference change").items() if row[0]}
    assert story.mixture.of(0) == expected
    assert expected["total_open_count"] == (1, None, "reference change")
    assert {delivery for delivery, _ in story.mixture.restated} == {SUMMER, WINTER, LABEL, 0}


def test_changed_models(story: Story) -> None:
    assert {name for _, name in story.models.restated} == {"opt_out_click_count", "human_opt_out_click_count"}
    for delivery in DELIVERIES:
        assert story.models.of(delivery) == story.models.expected(delivery, "models")


def test_the_record_is_carried_on(story: Story) -> None:
    count = "select version, reason, count(*), min(run_id) from meta.restatements group by all order by all"
    before = story.house.query(count)
    assert len({row[0] for row in before}) == 4
    assert {row[1] for row in before} >= {"late data", "reference change", "ruleset", "models"}
    assert story.house.publish() == {}
    assert story.house.query(count) == before


def test_old_restatements_go(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    newest = (
        "select delivery_id, indicator from meta.restatements order by restated_at desc, delivery_id, indicator limit 5"
    )
    expected = story.house.query(newest)
    monkeypatch.setattr(restatements, "KEPT_ROWS", 5)
    story.house.publish()
    assert story.house.query(newest) == expected
    assert story.house.query("select count(*) from meta.restatements") == [(5,)]
    monkeypatch.setattr(restatements, "KEPT", timedelta(0))
    story.house.publish()
    assert story.house.query("select count(*) from meta.restatements") == [(0,)]
