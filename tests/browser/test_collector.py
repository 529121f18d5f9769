"""From a click in a real browser to a number: the shipped nginx collector, Chromium with and without cookies, its log
taken in, and the marts.
"""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.collector_map import collector_map, written
from tests.browser.test_dagster_ui import FLAGS, require_chromium
from tests.collectors import Collector, running
from tests.loglines import BROWSER
from tests.marts import build_marts, connect

sync_api = pytest.importorskip("playwright.sync_api")

pytestmark = pytest.mark.browser

DELIVERY, LINK = 0x281A4D8, 0x281A4DA
ACCEPTS, REFUSES, SCANNED = 101, 102, 103
"""Recipients: a browser that keeps cookies, one that refuses them, a mail scanner that asks with HEAD."""


@pytest.fixture(scope="module")
def shop() -> Iterator[list[str]]:
    """A site whose one page carries a web tag, once the collector's address is put into the list."""
    collector: list[str] = []

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f"<p>Shop</p><img src='{collector[0]}/r/4711?tagid=home%7Cw%7Cshop'>".encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield [f"http://127.0.0.1:{server.server_port}", collector]  # type: ignore[list-item]
    server.shutdown()


def link(collector: Collector, message: int, url: int) -> str:
    return f"http://127.0.0.1:{collector.port}/r/?id=h{message:x},{DELIVERY:x},{url:x}"


def read_mail(collector: Collector, profile: Path, message: int, clicks: int, *, refuses_cookies: bool) -> None:
    """Show a mail's image, then follow its link, in a browser of its own."""
    settings = profile / "Default" / "Preferences"
    settings.parent.mkdir(parents=True)
    settings.write_text(
        json.dumps({"profile": {"default_content_setting_values": {"cookies": 2}}} if refuses_cookies else {})
    )
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            # Its own user agent says that it is run by a machine, and is known as such.
            str(profile),
            executable_path=require_chromium(),
            args=FLAGS,
            user_agent=BROWSER,
        )
        page = browser.new_page()
        page.goto(link(collector, message, 1))
        for _ in range(clicks):
            page.goto(link(collector, message, LINK), wait_until="networkidle")
            assert page.get_by_text("Shop").is_visible(), "the link leads to the shop"
        kept = {cookie["name"] for cookie in browser.cookies()}
        browser.close()
    assert kept == (set() if refuses_cookies else {"uuid230", "nlid"})


@pytest.fixture(scope="module")
def warehouse(shop: list, tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_chromium()
    base = tmp_path_factory.mktemp("collector")
    landing, warehouse = base / "landing", base / "warehouse"
    address, collector_address = shop
    for entity, text in {
        "deliveries": f"delivery_id,label,sent_at\n{DELIVERY},Spring,2024-05-01 09:00:00\n",
        "messages": "message_id,delivery_id,recipient_id,status,content_format\n"
        + "".join(f"{n},{DELIVERY},{n},1,html\n" for n in (ACCEPTS, REFUSES, SCANNED)),
        "tracked_urls": f"url_id,delivery_id,label,url_type,source_url\n{LINK},{DELIVERY},Shop,1,{address}/\n",
    }.items():
        (landing / "reference" / entity).mkdir(parents=True)
        (landing / "reference" / entity / "all.csv").write_text(text)
    targets = "\n".join(written([(DELIVERY, LINK, f"{address}/")], "nginx").lines)
    with running("nginx", targets) as collector:
        collector_address.append(f"http://127.0.0.1:{collector.port}")
        read_mail(collector, base / "accepts", ACCEPTS, 2, refuses_cookies=False)
        read_mail(collector, base / "refuses", REFUSES, 3, refuses_cookies=True)
        for url in (1, LINK):
            target = link(collector, SCANNED, url).removeprefix(collector_address[0])
            assert collector.ask(target, method="HEAD", User_Agent=BROWSER)[0] in (200, 302)
        # Images, clicks and the pages behind them; a browser asks for an icon when it likes.
        collector.finish_log(0, 1 + 2 + 2 + 1 + 3 + 3 + 2, but_for=b"favicon")
        log = landing / "access_logs" / "collector" / "tracking.log"
        log.parent.mkdir(parents=True)
        log.write_bytes(collector.log.read_bytes())
    build_marts(landing, warehouse, select=["+rpt_tracking_indicators", "+fct_web_visits", "+dim_tracked_urls"])
    made = collector_map(warehouse / "work" / "warehouse.duckdb", "nginx")
    assert "\n".join(made.lines) == targets, "the collector ran with the map that the command makes"
    return warehouse


def query(warehouse: Path, sql: str) -> list[tuple]:
    with connect(warehouse) as con:
        return con.execute(sql).fetchall()


def test_the_indicators_are_those_of_the_browsers(warehouse: Path) -> None:
    found = query(
        warehouse,
        "select total_open_count, human_total_open_count, recipient_open_count, total_click_count,"
        " human_total_click_count, recipient_click_count, human_recipient_click_count, person_click_count,"
        f" human_person_click_count from reports.rpt_tracking_indicators where delivery_id = {DELIVERY}",
    )
    assert found == [(3, 2, 3, 2 + 3 + 1, 2 + 3, 3, 2, 1 + 3 + 1, 1 + 3)]


def test_a_browser_that_keeps_cookies_is_one_person(warehouse: Path) -> None:
    events = query(
        warehouse,
        f"select visitor_id from core.fct_tracking_events where recipient_id = {ACCEPTS} order by occurred_at",
    )
    assert len(events) == 1 + 2 + 2, "an image, two clicks and the two pages that they led to"
    assert len(set(events)) == 1


def test_a_browser_that_refuses_them_is_a_new_one_each_time(warehouse: Path) -> None:
    events = query(warehouse, f"select visitor_id from core.fct_tracking_events where recipient_id = {REFUSES}")
    assert len(events) == 1 + 3, "nothing links the pages to the message"
    assert len(set(events)) == 4
    assert (None,) not in events


def test_the_pages_are_visits_of_the_session(warehouse: Path) -> None:
    visits = query(warehouse, "select recipient_id, delivery_id, tag, attribution from core.fct_web_visits")
    assert visits == [(ACCEPTS, DELIVERY, "home|w|shop", "session")] * 2


def test_the_scanner_is_a_machine(warehouse: Path) -> None:
    events = query(
        warehouse,
        f"select machine_rule, machine_confidence from core.fct_tracking_events where recipient_id = {SCANNED}",
    )
    assert events == [("head_request", "certain")] * 2
