"""The Dagster UI in a real Chromium: the asset graph, a check with its metadata, the published version, the schedule.

MTW_UPDATE_SCREENSHOTS=1 also rewrites docs/images/dagster-assets.png.
"""

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from orchestration.serve import WORKSPACE, webserver_command
from orchestration.settings import PROJECT_DIR, Settings
from tests.conftest import Demo

sync_api = pytest.importorskip("playwright.sync_api")
Page = sync_api.Page

pytestmark = pytest.mark.browser

CHROMIUM = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
SCREENSHOT = PROJECT_DIR / "docs" / "images" / "dagster-assets.png"
PATIENCE_MS = 60_000


def require_chromium() -> str:
    if CHROMIUM:
        return CHROMIUM
    message = "no Chromium on this machine: sudo apt-get install chromium"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def ui(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real web server over a copy of the demo: it writes into the records of runs."""
    require_chromium()
    root = tmp_path_factory.mktemp("ui")
    shutil.copytree(demo.landing, root / "landing")
    shutil.copytree(demo.warehouse, root / "warehouse", symlinks=True)
    environment = {key: value for key, value in os.environ.items() if key != "DAGSTER_HOME"}
    settings = Settings.load(
        {
            **{"MTW_LANDING_DIR": str(root / "landing"), "MTW_WAREHOUSE_DIR": str(root / "warehouse")},
            **{key: value for key, value in environment.items() if key == "MTW_DBT_PROJECT_DIR"},
        },
        dotenv=root / ".env",
    )
    environment |= settings.environment()
    port = free_port()
    log = root / "webserver.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            webserver_command("127.0.0.1", port, WORKSPACE),
            cwd=PROJECT_DIR,
            env=environment,
            stdout=output,
            stderr=output,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(f"{address}/server_info", timeout=5):
                    break
            except (urllib.error.URLError, OSError):
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, "the web server did not answer: " + log.read_text()
                time.sleep(0.3)
        yield address
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@pytest.fixture(scope="module")
def page(ui: str) -> Iterator[Page]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=require_chromium(), args=FLAGS)
        page = browser.new_page(viewport={"width": 1600, "height": 1000}, base_url=ui)
        page.set_default_timeout(PATIENCE_MS)
        # The UI is shown from the server alone: a machine without the internet sees the same.
        page.route(lambda url: not url.startswith(ui), lambda route: route.abort())
        yield page
        browser.close()


def test_the_asset_graph_shows_every_stage(page):
    page.goto("/asset-groups")
    for group in ("landing", "core", "reports", "published"):
        page.get_by_text(group, exact=True).first.wait_for()
    # Opened up, the published group shows its asset with its state.
    page.get_by_text("published", exact=True).last.click()
    page.get_by_text("marts", exact=True).first.wait_for()
    page.wait_for_timeout(2_500)  # the graph moves into place
    if os.environ.get("MTW_UPDATE_SCREENSHOTS") == "1":
        SCREENSHOT.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOT)


def test_a_check_shows_its_rules_and_what_was_looked_at(page):
    page.goto("/assets/landed/tracking_logs?view=checks&checkDetail=expectations")
    page.get_by_text("This is a blocking asset check.").wait_for()
    page.get_by_text("rows_looked_at").first.wait_for()
    page.get_by_text("[Show Markdown]").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("server is one letter or digit").wait_for()
    assert dialog.get_by_text("holds").count() > 10
    assert "\\" not in dialog.inner_text(), "escapes are read, not shown"


def test_the_published_version_shows_its_tables_and_indicators(page):
    page.goto("/assets/published/marts")
    page.get_by_text("000001").first.wait_for()
    page.get_by_text("Freshness policy").first.wait_for()
    # Long tables are behind a link, short ones are shown at once.
    for entry, expected in (
        ("tables", "reports.rpt_tracking_indicators"),
        ("main_indicators", "recipient_click_count"),
    ):
        row = page.get_by_role("row").filter(has=page.get_by_text(entry, exact=True))
        row.get_by_text("[Show Markdown]").or_(row.get_by_text(expected)).first.wait_for()
        if row.get_by_text("[Show Markdown]").count():
            row.get_by_text("[Show Markdown]").click()
            page.get_by_role("dialog").get_by_text(expected).first.wait_for()
            page.keyboard.press("Escape")
            page.get_by_role("dialog").wait_for(state="detached")


def test_a_fact_shows_its_days_and_leads_to_its_page(page):
    page.goto("/assets/core/fct_tracking_events")
    picture = page.get_by_role("row").filter(has=page.get_by_text("by_day", exact=True)).locator("img").first
    picture.scroll_into_view_if_needed()
    assert picture.evaluate("image => image.complete && image.naturalWidth") == 240, "thirty bars, really drawn"
    link = page.get_by_role("row").filter(has=page.get_by_text("page_delivery", exact=True)).get_by_role("link").first
    assert link.get_attribute("href") == "http://127.0.0.1:8501/delivery"


def test_a_report_plots_its_totals(page):
    page.goto("/assets/reports/rpt_url_click_streams")
    row = page.get_by_role("row").filter(has=page.get_by_text("click_count", exact=True)).last
    row.wait_for()
    page.get_by_text("Plots", exact=True).first.click()
    page.get_by_text("human_click_count", exact=True).last.wait_for()


def test_the_schedule_and_the_sensors_can_be_turned_on(page):
    page.goto("/automation")
    for name in ("hourly_tracking", "landing_folder", "failed_runs"):
        page.get_by_text(name, exact=True).first.wait_for()
    page.get_by_text("At 5 minutes past the hour").first.wait_for()


def test_the_run_of_the_command_line_is_listed(page):
    page.goto("/runs")
    page.get_by_text("mtw/started_by: mtw run").first.wait_for()
    page.get_by_text("Success", exact=True).first.wait_for()


def test_nothing_is_fetched_from_elsewhere(page, ui):
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/asset-groups")
    page.get_by_text("published", exact=True).first.wait_for()
    assert asked
    assert [url for url in asked if not url.startswith((ui, "data:", "blob:"))] == []
