"""`make docs`: a sample through the whole pipeline, then the pictures and pages of the reports, then dbt's docs.

Usage: python -m report_docs [--pages]. --pages writes the Markdown only, in a moment.
Belongs here: the order of things and where they go. Does not: reading (reports), text (pages), drawing (charts).
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb

from orchestration.settings import PROJECT_DIR, Settings
from report_docs.pages import SAMPLE_EVENTS, SAMPLE_SEED, picture_of, render_all
from report_docs.reports import Report, read_reports

REPORTS = PROJECT_DIR / "docs" / "reports"
WORK = PROJECT_DIR / "data" / "docs"
"""The sample and its warehouse, made anew each time, and dbt's documentation. Not committed."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m report_docs", description=__doc__.splitlines()[0])
    parser.add_argument("--pages", action="store_true", help="only the Markdown pages")
    pages_only = parser.parse_args().pages
    reports = read_reports()
    REPORTS.mkdir(parents=True, exist_ok=True)
    if not pages_only:
        settings = make_sample()
        draw_pictures(reports, settings.published_database)
    write_pages(reports)
    if not pages_only:
        from report_docs.dbt_docs import build_dbt_docs

        print(f"dbt's documentation: {build_dbt_docs(settings, WORK / 'dbt').relative_to(PROJECT_DIR)}")


def make_sample() -> Settings:
    """The settings of a fresh warehouse that has taken in the sample; nothing of this machine's settings counts."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    (WORK / ".env").touch()  # found before the checkout's, which is about another warehouse
    landing, warehouse = WORK / "landing", WORK / "warehouse"
    for name in [name for name in os.environ if name.startswith(("MTW_", "DAGSTER_"))]:
        del os.environ[name]
    places = {"MTW_LANDING_DIR": str(landing), "MTW_WAREHOUSE_DIR": str(warehouse)}
    mtw = str(Path(sys.executable).with_name("mtw"))
    sample = (mtw, "sample", "--events", str(SAMPLE_EVENTS), "--seed", str(SAMPLE_SEED), str(landing))
    for command in (sample, (mtw, "run")):
        subprocess.run(command, cwd=WORK, env={**os.environ, **places}, check=True)
    return Settings(landing, warehouse)


def draw_pictures(reports: list[Report], database: Path) -> None:
    """A picture for each report with something to show; says which have none."""
    from report_docs.charts import draw

    with duckdb.connect(str(database.resolve()), read_only=True) as connection:
        for report in reports:
            cursor = connection.execute(report.example)
            svg = draw(report.chart, [name for name, *_ in cursor.description or ()], cursor.fetchall())
            if svg is None:
                print(f"{report.name}: no picture, the sample has nothing for it")
                (REPORTS / picture_of(report)).unlink(missing_ok=True)
            else:
                (REPORTS / picture_of(report)).write_text(svg, encoding="utf-8")


def write_pages(reports: list[Report]) -> None:
    """All pages; those of reports that are no more go, with their pictures."""
    pages = render_all(reports, REPORTS)
    wanted = {*pages, *(picture_of(report) for report in reports)}
    for path in REPORTS.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, text in pages.items():
        (REPORTS / name).write_text(text, encoding="utf-8")
    print(f"{len(pages)} pages in {REPORTS.relative_to(PROJECT_DIR)}")


if __name__ == "__main__":
    main()
