"""docs/add-your-own-report.md, followed to the letter: its two files, its query, its mistake."""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from orchestration.definitions import build_defs
from orchestration.publication import current
from orchestration.settings import Settings
from report_docs.charts import draw
from report_docs.pages import render_all
from report_docs.reports import read_reports
from tests.conftest import ROOT, mtw
from tests.loglines import BROWSER, line, logs
from tests.marts import PROJECT

PAGE = (ROOT / "docs" / "add-your-own-report.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"`dbt_project/(\S+)`:\n\n```(?:sql|yaml)\n(.*?)```", PAGE, flags=re.DOTALL))
QUERY, MISTAKE = re.findall(r"```sql\n((?:select|group).*?)```", PAGE, flags=re.DOTALL)
NAME = "rpt_clicks_by_language"
SQL, YAML = f"models/marts/reports/{NAME}.sql", f"models/marts/reports/{NAME}.yml"
CHECK = f"grain_{NAME}"

DELIVERIES = (0x1A000001, 0x1A000002)
OPEN, LINK, OPT_OUT = 1, 0x10, 0x11
LANGUAGES = {1: "fr", 2: " FR ", 3: "en", 4: "", 5: None}
BOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
HITS = [
    # (recipient, whose id is also the message's in its delivery; link; user agent)
    *[(recipient, url, BROWSER) for recipient in LANGUAGES for url in (OPEN, LINK)],
    *[(1, LINK, BROWSER), (1, LINK, BOT), (2, LINK, BOT), (3, OPT_OUT, BROWSER), (3, OPEN, BOT)],
    *[(0, LINK, BROWSER), (0, LINK, BROWSER)],
]
"""Recipient 0: a message that nobody knows."""


@dataclass(frozen=True)
class Place:
    landing: Path
    warehouse: Path
    project: Path

    @property
    def settings(self) -> Settings:
        return Settings(self.landing, self.warehouse, dbt_project_dir=self.project)

    def run(self) -> tuple[int, str]:
        done = mtw(
            *("run",),
            landing=self.landing,
            warehouse=self.warehouse,
            settings={"MTW_DBT_PROJECT_DIR": str(self.project)},
        )
        return done.returncode, done.stdout + done.stderr

    def query(self, sql: str) -> list[tuple]:
        with duckdb.connect(str(self.settings.published_database.resolve()), read_only=True) as connection:
            return connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A landing folder of a few lines, and the project with the page's report, built and published."""
    root = tmp_path_factory.mktemp("own")
    place = Place(root / "landing", root / "warehouse", root / "dbt_project")
    lines = [
        # Apart enough to be no burst.
        line(
            n, message=recipient, delivery=DELIVERIES[recipient % 2], url=url, agent=agent,
            at=f"2024-05-01T{n:02d}:00:00.00",
        )
        for n, (recipient, url, agent) in enumerate(HITS)
    ]  # fmt: skip
    logs(place.landing, "redir1/0x0000000000000000.log", *lines)
    for entity, text in {
        "messages": "message_id,delivery_id,recipient_id,status\n"
        + "".join(f"{recipient},{DELIVERIES[recipient % 2]},{recipient},1\n" for recipient in LANGUAGES),
        "recipients": "recipient_id,language\n"
        + "".join(f"{recipient},{language or ''}\n" for recipient, language in LANGUAGES.items()),
        "tracked_urls": "url_id,delivery_id,url_type\n"
        + "".join(f"{LINK},{delivery},1\n{OPT_OUT},{delivery},3\n" for delivery in DELIVERIES),
    }.items():
        (place.landing / "reference" / entity).mkdir(parents=True)
        (place.landing / "reference" / entity / "all.csv").write_text(text)
    shutil.copytree(PROJECT, place.project, ignore=shutil.ignore_patterns("target", "logs"))
    assert set(FILES) == {SQL, YAML}
    for file, text in FILES.items():
        assert not (place.project / file).exists(), "the page's report is one of the project already"
        (place.project / file).write_text(text)
    keep_what_is_needed(place.project)
    code, output = place.run()
    assert code == 0, output
    return place


def keep_what_is_needed(project: Path) -> None:
    """Take away the models that the report does not read: all of them would take several times as long to build."""
    models = {path.stem: path for path in (project / "models").rglob("*.sql")}
    # The mart that the page's indicators are described by; and a model of the folder meta, because dbt accepts no
    # setting for a folder without one.
    needed: set[str] = set()
    found = {NAME, "rpt_tracking_indicators", "problem_files"}
    while found:
        needed |= found
        quoted = {word for name in found for word in re.findall(r"'(\w+)'", models[name].read_text())}
        found = (quoted & set(models)) - needed
    for name in set(models) - needed:
        models[name].unlink()
        models[name].with_suffix(".yml").unlink()
    (project / "models" / "exposures.yml").unlink()
    for path in (project / "tests").glob("*.sql"):
        if not set(re.findall(r"ref\('(\w+)'\)", path.read_text())) & set(models) <= needed:
            path.unlink()


def language(recipient: int) -> str:
    return (LANGUAGES.get(recipient) or "").strip().lower() or "unknown"


def expected() -> list[tuple]:
    """Counted from the hits, without SQL: language, clicks, clicks by people, messages clicked."""
    clicks = [(language(recipient), recipient, agent) for recipient, url, agent in HITS if url == LINK]
    rows = [
        (
            name,
            sum(which == name for which, _, _ in clicks),
            sum(which == name and agent != BOT for which, _, agent in clicks),
            len({recipient for which, recipient, _ in clicks if which == name and recipient}),
        )
        for name in {which for which, _, _ in clicks}
    ]
    return sorted(rows, key=lambda row: (-row[1], row[0]))


def test_the_published_table_has_the_right_numbers(place: Place) -> None:
    assert expected() == [("fr", 5, 3, 2), ("unknown", 4, 4, 2), ("en", 1, 1, 1)]
    assert place.query(QUERY) == expected()
    parquet = place.settings.published_dir / "marts" / "reports" / f"{NAME}.parquet"
    assert duckdb.sql(f"select count(*) from '{parquet}'").fetchall() == [(3,)]


def test_it_is_published_with_its_comments(place: Place) -> None:
    ((table,),) = place.query(f"select comment from duckdb_tables() where table_name = '{NAME}'")
    assert table.startswith("Grain: one row per language of recipients who clicked.")
    columns = dict(place.query(f"select column_name, comment from duckdb_columns() where table_name = '{NAME}'"))
    assert list(columns) == ["language", "total_click_count", "human_total_click_count", "recipient_click_count"]
    assert columns["language"] == "Language of the recipient, lower case; unknown where none is given."
    assert columns["total_click_count"].startswith("Events of URL type 1 (email click).")


@pytest.fixture
def unchanged_environment() -> Iterator[None]:
    """Settings are exported for Dagster; they must not reach other tests."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_dagster_shows_asset_lineage_and_check(place: Place, unchanged_environment: None) -> None:
    graph = build_defs(place.settings).resolve_asset_graph()
    asset = graph.get(dg.AssetKey(["reports", NAME]))
    assert asset.group_name == "reports"
    assert asset.parent_keys == {dg.AssetKey(["core", name]) for name in ("fct_tracking_events", "dim_recipients")}
    assert dg.AssetKey(["published", "marts"]) in asset.child_keys
    assert dg.AssetCheckKey(asset.key, CHECK) in asset.check_keys
    assert asset.metadata["question"] == "In which languages do people click?"
    assert asset.metadata["docs"].value == f"docs/reports/{NAME}.md"


def test_a_number_of_it_is_explained(place: Place) -> None:
    done = mtw(
        *("explain", f"{NAME}.total_click_count", "--key", "language=fr"),
        landing=place.landing, warehouse=place.warehouse, settings={"MTW_DBT_PROJECT_DIR": str(place.project)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "counted again   5: the same" in done.stdout
    assert "Raw lines: 5" in done.stdout


def test_it_gets_a_page_and_a_picture(place: Place) -> None:
    (report,) = [report for report in read_reports(place.project) if report.name == NAME]
    page = render_all([report], place.project)[f"{NAME}.md"]
    assert "**Question.** In which languages do people click?" in page
    assert "| `total_click_count`<br>`human_total_click_count` | `bigint` | Events of URL type 1" in page
    picture = draw(
        report.chart, ["language", "total_click_count", "human_total_click_count"], place.query(report.example)
    )
    assert picture is not None
    assert ">fr</text>" in picture


def test_its_mistake_fails_the_check_and_is_not_published(place: Place) -> None:
    """Last: the working database holds the wrong rows afterwards."""
    model = place.project / SQL
    right = model.read_text()
    assert right.endswith("\ngroup by recipients.language\n")
    model.write_text(right.replace("\ngroup by recipients.language\n", f"\n{MISTAKE}"))
    code, output = place.run()
    assert code == 1
    assert CHECK in output.splitlines()[-1], "the one line that says why"
    assert current(place.settings.published_dir).version == 1
    assert place.query(QUERY) == expected()
