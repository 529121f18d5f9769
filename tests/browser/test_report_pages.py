"""The report pages in a real Chromium, started by the command that `mtw serve` uses: wide and narrow, with hostile
data, while a new version is published, for browsers in other time zones, and under axe.

MTW_UPDATE_SCREENSHOTS=1 also rewrites docs/pages/*.png, of the demo without hostile texts.
"""

import csv
import io
import os
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import flask
import pytest
import werkzeug.serving

from orchestration.access import allowed
from orchestration.serve import PAGES_DIR, pages_command
from orchestration.settings import PROJECT_DIR, Settings
from tests.browser.test_dagster_ui import FLAGS, free_port, require_chromium
from tests.conftest import Demo
from tests.pages import HOSTILE, make_current, make_hostile, make_version

sync_api = pytest.importorskip("playwright.sync_api")
axe_core = pytest.importorskip("axe_playwright_python.sync_playwright")
jwt = pytest.importorskip("joserfc.jwt")
RSAKey = pytest.importorskip("joserfc.jwk").RSAKey

pytestmark = pytest.mark.browser

WIDTHS = (1280, 390)
PATIENCE_MS = 30_000
PARTS = ("overview", "links", "timing", "hot", "devices", "failures", "log")
SCREENSHOTS = PROJECT_DIR / "docs" / "pages"


@dataclass
class Site:
    """The pages of one warehouse. delivery and recipient are spoilt, other_delivery is as it was."""

    address: str
    warehouse: Path
    delivery: int = 0
    recipient: int = 0
    other_delivery: int = 0

    @property
    def published(self) -> Path:
        return Path(os.path.realpath(self.warehouse / "published" / "marts.duckdb"))

    def query(self, sql: str) -> list[tuple]:
        with duckdb.connect(str(self.published), read_only=True) as con:
            return con.execute(sql).fetchall()


@contextmanager
def serving(warehouse: Path, log: Path, port: int = 0, **variables: str) -> Iterator[str]:
    """The address of the pages of a warehouse, started as `mtw serve` starts them."""
    settings = Settings.load({"MTW_WAREHOUSE_DIR": str(warehouse), **variables}, dotenv=log.parent / ".env")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MTW_", "STREAMLIT_"))}
    port = port or free_port()
    address = f"http://127.0.0.1:{port}"
    with log.open("w") as output:
        server = subprocess.Popen(
            pages_command(allowed(settings, "127.0.0.1"), port),
            cwd=PAGES_DIR,
            env=environment | settings.environment(),
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5):
                    break
            except (urllib.error.URLError, OSError):
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        yield address
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def site(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    require_chromium()
    base = tmp_path_factory.mktemp("pages")
    site = Site("", base / "warehouse")
    made = make_version(demo.published, site.warehouse, 1)
    make_current(site.warehouse, 1)
    busiest = site.query(
        "select delivery_id from reports.rpt_tracking_indicators order by total_click_count desc limit 2"
    )
    site.other_delivery, site.delivery = busiest[0][0], busiest[1][0]
    site.recipient = site.query(
        f"select recipient_id from reports.profile_tracking where delivery_id = {site.delivery} and recipient_id <> 0"
        " group by recipient_id order by count(*) desc, recipient_id limit 1"
    )[0][0]
    make_hostile(made, site.delivery, site.recipient)
    with serving(site.warehouse, base / "pages.log", MTW_TIME_ZONE="Europe/Paris") as site.address:
        yield site


@pytest.fixture(scope="module")
def chromium() -> Iterator["sync_api.Browser"]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=require_chromium(), args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page, and what happened that must not."""

    page: "sync_api.Page"
    site: Site
    foreign: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def open(self, path: str) -> "sync_api.Page":
        self.page.goto(self.site.address + path)
        self.page.locator(".mtw-footer").wait_for()
        return self.page

    def assert_nothing_happened(self) -> None:
        assert self.foreign == [], "no request leaves this server"
        assert self.dialogs == []
        assert self.page.title() == "Message tracking"
        assert self.page.locator("[data-testid=stException]").count() == 0


@pytest.fixture
def visit(chromium: "sync_api.Browser", site: Site) -> Iterator[Visit]:
    with visiting(chromium, site) as made:
        yield made


@contextmanager
def visiting(chromium: "sync_api.Browser", site: Site, and_to: str = "", **options: object) -> Iterator[Visit]:
    """A browser of its own. and_to: another server that it may go to."""
    own = (f"{site.address}/", and_to) if and_to else (f"{site.address}/",)
    context = chromium.new_context(viewport={"width": WIDTHS[0], "height": 900}, accept_downloads=True, **options)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    visit = Visit(page, site)

    def seen(request: "sync_api.Request") -> None:
        if not request.url.startswith((*own, "data:", "blob:")):
            visit.foreign.append(request.url)

    def refused(request: "sync_api.Request") -> None:
        # The policy of the mail's frame did its work: sometimes the browser tells of the attempt, and that it was none.
        if request.failure == "csp" and request.url in visit.foreign:
            visit.foreign.remove(request.url)

    context.on("request", seen)
    context.on("requestfailed", refused)
    # What would leave is noted, and does not leave.
    context.route(lambda url: not url.startswith(own), lambda route: route.abort())
    page.on("dialog", lambda dialog: (visit.dialogs.append(dialog.message), dialog.dismiss()))
    yield visit
    context.close()


LINKS = {
    "dashboard": "/",
    **{f"delivery {part}": f"/delivery?delivery_id={{site.delivery}}&part={part}" for part in PARTS},
    **{
        f"profile {part}": f"/profile?recipient_id={{site.recipient}}&profile_part={part}"
        for part in ("log", "deliveries", "subscriptions")
    },
    **{
        f"platform {part}": f"/platform?platform_part={part}"
        for part in ("activity", "throughput", "software", "subscriptions", "sharing", "web")
    },
    "health": "/health",
    "lineage": "/lineage?mart=rpt_tracking_indicators&column=person_click_count",
}


@pytest.mark.parametrize("name", LINKS)
def test_a_deep_link_wide_and_narrow(visit: Visit, site: Site, name: str) -> None:
    page = visit.open(LINKS[name].format(site=site))
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(150)
        content = page.locator("[data-testid=stMain]")
        assert content.evaluate("element => element.scrollWidth - element.clientWidth") <= 0, (
            f"nothing is cut at {width}"
        )
        found = axe_core.Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]})
        assert found.violations_count == 0, f"at {width}: {found.generate_report()}"
    visit.assert_nothing_happened()


def test_hostile_texts_are_shown_as_they_are(visit: Visit, site: Site) -> None:
    shown = HOSTILE.replace("\u202e", "\ufffd")
    page = visit.open(f"/delivery?delivery_id={site.delivery}&part=log")
    assert page.locator("td").filter(has_text="document.title='taken'").first.inner_text() == shown
    assert page.get_by_text(shown[:60]).count() > 3
    assert page.locator(".mtw-scroll img, .mtw-scroll script, .mtw-scroll svg").count() == 0
    page = visit.open("/")
    assert page.get_by_role("link", name="document.title='taken'").count() == 1
    visit.assert_nothing_happened()


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/delivery", "Choose a delivery"),
        ("/delivery?delivery_id=4242", "There is no delivery 4242"),
        ("/delivery?delivery_id=1;drop table x--&part=%3Cscript%3E&lang=xx&events=yes", "has to be a number"),
        ("/profile", "Search for a recipient"),
        ("/profile?recipient_id=%3Cimg src=x onerror=alert(1)%3E", "has to be a number"),
        ("/profile?recipient_id=999999999999", "There is no recipient 999999999999"),
    ],
)
def test_an_address_that_leads_nowhere_says_so(visit: Visit, path: str, says: str) -> None:
    page = visit.open(path)
    page.get_by_role("status").filter(has_text=says).wait_for()
    visit.assert_nothing_happened()


def mail(page: "sync_api.Page") -> "sync_api.FrameLocator":
    """The inner of the two frames: the mail's own document."""
    return page.frame_locator("[data-testid=stIFrame]").frame_locator("iframe")


def test_every_drawn_link_has_its_share_beside_it(visit: Visit, site: Site) -> None:
    page = visit.open(f"/delivery?delivery_id={site.other_delivery}&part=hot")
    # The links of the content in their order: position is place in the document.
    expected = {
        position: f"{100 * share:,.1f}%"
        for position, share in site.query(
            "select link_position, click_share from reports.rpt_hot_clicks"
            f" where delivery_id = {site.other_delivery} and is_drawn"
        )
    }
    assert len(expected) > 3
    traps = site.query(
        "select link_position from reports.rpt_hot_clicks"
        f" where delivery_id = {site.other_delivery} and category = 'honeypot'"
    )
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        mail(page).locator(".mtw-badge").first.wait_for()
        places = (
            mail(page)
            .locator("a")
            .evaluate_all(
                """links => links.map(link => {
                const badge = link.querySelector('.mtw-badge');
                if (!badge) return null;
                const box = badge.getBoundingClientRect();
                const style = getComputedStyle(badge);
                return {text: badge.textContent, left: box.left, right: box.right, size: parseFloat(style.fontSize),
                        width: document.documentElement.clientWidth, shown: style.display !== 'none' && box.width > 20};
            })"""
            )
        )
        drawn = {position: place for position, place in enumerate(places, 1) if place}
        assert {position: place["text"] for position, place in drawn.items()} == expected
        for position, place in drawn.items():
            if (position,) in traps:
                assert not place["shown"], "what the mail hides from people stays hidden"
                continue
            assert place["shown"] and place["size"] >= 12
            assert place["left"] >= 0 and place["right"] <= place["width"], f"inside the frame at {width}"
    visit.assert_nothing_happened()


def test_a_hostile_mail_does_nothing_but_show(visit: Visit, site: Site) -> None:
    page = visit.open(f"/delivery?delivery_id={site.delivery}&part=hot")
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        inside = mail(page)
        inside.get_by_text("One", exact=False).first.wait_for()
        assert inside.locator(".mtw-badge").all_inner_texts() == ["25.0%", "50.0%"]
        assert inside.locator("a").nth(0).locator(".mtw-badge").is_visible(), "the mail's own style does not hide it"
        assert (
            inside.locator("script, iframe, object, embed, form, input, svg, video, link, base, [onclick]").count() == 0
        )
        assert inside.locator("a[href]").count() == 0
        overflow = inside.locator("html").evaluate("element => element.scrollWidth - element.clientWidth")
        assert overflow <= 0, f"a mail of 640 pixels is not cut at {width}"
        inside.locator("a").nth(0).click()
    page.wait_for_timeout(500)
    assert page.url.startswith(f"{site.address}/delivery")
    visit.assert_nothing_happened()


def test_a_version_published_while_a_page_is_open(chromium: "sync_api.Browser", demo: Demo, tmp_path: Path) -> None:
    site = Site("", tmp_path / "warehouse")
    make_version(demo.published, site.warehouse, 1)
    make_current(site.warehouse, 1)
    delivery_id, before = site.query(
        "select delivery_id, total_open_count from reports.rpt_tracking_indicators"
        " order by total_open_count desc limit 1"
    )[0]
    with serving(site.warehouse, tmp_path / "pages.log") as site.address, visiting(chromium, site) as visit:
        page = visit.open(f"/delivery?delivery_id={delivery_id}")
        row = page.get_by_role("row", name=re.compile("^Total opens [0-9]"))
        assert f"{before:,}" in row.inner_text()
        made = make_version(demo.published, site.warehouse, 2)
        with duckdb.connect(str(made)) as con:
            con.execute("update reports.rpt_tracking_indicators set total_open_count = 7654321")
        make_current(site.warehouse, 2)
        page.get_by_text("People only").first.click()
        row.filter(has_text="7,654,321").wait_for()
        page.locator(".mtw-footer").filter(has_text="Version 000002").wait_for()
        # And a warehouse that was made anew begins with version 1 again.
        made.unlink()
        made = make_version(demo.published, site.warehouse, 3)
        with duckdb.connect(str(made)) as con:
            con.execute("update reports.rpt_tracking_indicators set total_open_count = 1234567")
        made.rename(site.published.parent / "marts.duckdb")
        page.get_by_text("All", exact=True).first.click()
        row.filter(has_text="1,234,567").wait_for()
        visit.assert_nothing_happened()


def test_browsers_anywhere_see_the_same_hours(chromium: "sync_api.Browser", site: Site) -> None:
    newest = site.query(
        "select strftime(timezone('Europe/Paris', timezone('UTC', last_event_at)), '%Y-%m-%d %H:%M')"
        f" from reports.delivery_dashboard where delivery_id = {site.other_delivery}"
    )[0][0]
    seen = []
    for zone in ("Pacific/Auckland", "America/Los_Angeles", "UTC"):
        with visiting(chromium, site, timezone_id=zone) as visit:
            page = visit.open(f"/delivery?delivery_id={site.other_delivery}&step=30")
            facts = page.locator(".mtw-facts").inner_text()
            assert newest in facts
            chart = page.locator("[data-testid=stVegaLiteChart] svg.marks").first
            chart.scroll_into_view_if_needed()
            page.wait_for_timeout(600)
            assert page.evaluate("new Date(0).getTimezoneOffset()") == {"UTC": 0, "America/Los_Angeles": 480}.get(
                zone, -720
            )
            seen.append((facts, chart.evaluate("drawing => drawing.outerHTML")))
    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0][1]) > 5_000, "something is drawn"


def test_an_export_holds_no_formula(visit: Visit, site: Site) -> None:
    page = visit.open("/")
    with page.expect_download() as download:
        page.get_by_text("Export CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text("utf-8-sig"))))
    spoilt = [row for row in rows if row["delivery_id"] == str(site.delivery)]
    assert [row["delivery_label"] for row in spoilt] == [f"'{HOSTILE}"]
    assert len(rows) == site.query("select count(*) from reports.delivery_dashboard")[0][0]
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "@", "\t"))]


def test_paper_shows_the_whole_table_and_no_buttons(visit: Visit, site: Site) -> None:
    page = visit.open(f"/delivery?delivery_id={site.other_delivery}&part=log")
    page.emulate_media(media="print")
    assert not page.get_by_text("Export CSV").is_visible()
    assert not page.locator("[data-testid=stSidebar]").is_visible()
    pages = page.pdf(format="A4").count(b"/Type /Page\n") + page.pdf(format="A4").count(b"/Type /Page ")
    assert pages > 1, "fifty rows do not fit on one sheet, and none is cut off"


class Provider:
    """An OpenID Connect provider that lets everybody in, on the loopback address."""

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "test", "use": "sig", "alg": "RS256"})
        self.nonce = ""
        app = flask.Flask("provider")
        app.add_url_rule("/.well-known/openid-configuration", view_func=self.configuration)
        app.add_url_rule("/authorize", view_func=self.authorize)
        app.add_url_rule("/token", view_func=self.token, methods=["POST"])
        app.add_url_rule("/keys", view_func=self.keys)
        self.server = werkzeug.serving.make_server("127.0.0.1", 0, app, threaded=True)
        self.address = f"http://127.0.0.1:{self.server.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def configuration(self) -> dict[str, object]:
        return {
            "issuer": self.address,
            "authorization_endpoint": f"{self.address}/authorize",
            "token_endpoint": f"{self.address}/token",
            "jwks_uri": f"{self.address}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def authorize(self) -> "flask.typing.ResponseReturnValue":
        asked = flask.request.args
        self.nonce = asked.get("nonce", "")
        return flask.redirect(f"{asked['redirect_uri']}?code=code&state={asked['state']}")

    def token(self) -> dict[str, object]:
        now = int(time.time())
        claims = {"iss": self.address, "aud": "pages", "sub": "1", "email": "ann@example.org", "nonce": self.nonce}
        token = jwt.encode({"alg": "RS256", "kid": "test"}, {**claims, "iat": now, "exp": now + 600}, self.key)
        return {"access_token": "x", "token_type": "Bearer", "expires_in": 600, "id_token": token}

    def keys(self) -> dict[str, object]:
        return {"keys": [self.key.as_dict(private=False)]}


def test_nobody_sees_anything_before_logging_in(chromium: "sync_api.Browser", site: Site, tmp_path: Path) -> None:
    provider, port = Provider(), free_port()
    secrets = tmp_path / "secrets.toml"
    secrets.write_text(
        f'[auth]\nredirect_uri = "http://127.0.0.1:{port}/oauth2callback"\n'
        'cookie_secret = "0123456789abcdef0123456789abcdef"\nclient_id = "pages"\nclient_secret = "secret"\n'
        f'server_metadata_url = "{provider.address}/.well-known/openid-configuration"\n'
    )
    guarded = Site("", site.warehouse)
    delivery = f"/delivery?delivery_id={site.other_delivery}"
    variables = {"MTW_LOGIN": "oidc", "MTW_LOGIN_SECRETS": str(secrets)}
    with (
        serving(site.warehouse, tmp_path / "pages.log", port, **variables) as guarded.address,
        visiting(chromium, guarded, and_to=provider.address) as visit,
    ):
        page = visit.page
        for path in ("/", delivery, f"/profile?recipient_id={site.recipient}"):
            page.goto(guarded.address + path)
            page.get_by_role("button", name="Log in").wait_for()
            assert page.locator(".mtw-footer, .mtw-table, .mtw-cards").count() == 0
            assert page.get_by_role("link", name="Platform").count() == 0
        page.get_by_role("button", name="Log in").click()
        page.locator(".mtw-footer").wait_for()
        visit.open(delivery)
        assert page.locator(".mtw-table").count() > 1
        page.get_by_role("button", name="Log out").click()
        page.get_by_role("button", name="Log in").wait_for()
        assert page.locator(".mtw-table").count() == 0
        assert visit.foreign == []
    provider.server.shutdown()


@pytest.mark.skipif(
    os.environ.get("MTW_UPDATE_SCREENSHOTS") != "1", reason="draws the pictures of docs/report-pages.md"
)
def test_pictures_for_the_docs(chromium: "sync_api.Browser", demo: Demo, tmp_path: Path) -> None:
    site = Site("", demo.warehouse)
    delivery_id = site.query("select delivery_id from reports.rpt_tracking_indicators order by total_click_count desc")[
        0
    ][0]
    recipient_id = site.query(
        "select recipient_id from reports.profile_tracking where recipient_id <> 0 and url_type = 1 and not is_machine"
        " group by recipient_id order by count(*) desc, recipient_id"
    )[0][0]
    pictures = {
        "dashboard": ("/", 1280, 1100),
        "delivery": (f"/delivery?delivery_id={delivery_id}", 1280, 1100),
        "urls-and-clicks": (f"/delivery?delivery_id={delivery_id}&part=links", 1280, 1500),
        "tracking-statistics": (f"/delivery?delivery_id={delivery_id}&part=timing", 1280, 1150),
        "hot-clicks": (f"/delivery?delivery_id={delivery_id}&part=hot", 1280, 1300),
        "hot-clicks-phone": (f"/delivery?delivery_id={delivery_id}&part=hot", 390, 1200),
        "profile": (f"/profile?recipient_id={recipient_id}", 1280, 1000),
        "platform": ("/platform?period=0&platform_part=activity", 1280, 850),
        "platform-french": ("/platform?lang=fr&platform_part=subscriptions", 1280, 900),
        "health": ("/health", 1280, 1300),
        "lineage": ("/lineage?mart=rpt_tracking_indicators&column=person_click_count", 1280, 1200),
    }
    with serving(site.warehouse, tmp_path / "pages.log") as site.address, visiting(chromium, site) as visit:
        for name, (path, width, height) in pictures.items():
            page = visit.open(path)
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(1_500)
            page.screenshot(path=SCREENSHOTS / f"{name}.png")
