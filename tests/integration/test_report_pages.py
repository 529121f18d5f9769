"""What the report pages show, without a browser: the numbers of the published file, masked, in two languages.

Pages run in the framework's own test runner over the demo's published version. What needs a browser is in
tests/browser/test_report_pages.py.
"""

import html
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

from tests.conftest import ROOT, Demo
from tests.pages import make_current, make_hostile, make_version

streamlit = pytest.importorskip("streamlit")
testing = pytest.importorskip("streamlit.testing.v1")

from reports import language as words_module  # noqa: E402 (only where the pages' packages are)
from reports.language import Language  # noqa: E402
from reports.published import QUERIES, Published, Snapshot, sql  # noqa: E402

Page = Callable[..., Any]


def one_page(name: str) -> None:
    """The script that the runner executes: a page without the navigation around it."""
    from reports.app import show_page
    from reports.language import Language
    from reports.settings import ReportSettings

    settings = ReportSettings.load()
    show_page(name, settings, Language(settings.language, settings.time_zone))


@pytest.fixture(scope="module")
def copied(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A warehouse with a copy of the demo's published file: DuckDB opens no file in two ways in one process."""
    warehouse = tmp_path_factory.mktemp("pages") / "warehouse"
    make_version(demo.published, warehouse, 1)
    make_current(warehouse, 1)
    yield warehouse
    # The pages keep their connections as long as the process lives, and its end would find them open.
    streamlit.cache_data.clear()
    streamlit.cache_resource.clear()


@pytest.fixture
def snapshot(copied: Path) -> Iterator[Snapshot]:
    made = Published(copied / "published" / "marts.duckdb").snapshot()
    yield made
    made.connection.close()


@pytest.fixture
def page(copied: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    """Runs a page with address parameters; settings are keyword arguments in capitals."""

    def run(name: str, warehouse: Path = copied, **asked: str) -> Any:
        monkeypatch.setenv("MTW_WAREHOUSE_DIR", str(warehouse))
        for key, value in asked.items():
            if key.isupper():
                monkeypatch.setenv(key, value)
        tested = testing.AppTest.from_function(one_page, args=(name,), default_timeout=60)
        for key, value in asked.items():
            if not key.isupper():
                tested.query_params[key] = value
        tested.run()
        assert not tested.exception, tested.exception
        return tested

    return run


def shown(tested: Any) -> str:
    """All HTML that the page wrote."""
    return "\n".join(element.proto.body for element in tested.get("html"))


def rows_of(tested: Any) -> list[list[str]]:
    """The cells of every row of every table."""
    return [
        [re.sub(r"<.*?>", "", cell) for cell in re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", shown(tested))
    ]


def cells(tested: Any, first: str) -> list[str]:
    """The cells of the row that begins with this text."""
    for found in rows_of(tested):
        if found and found[0] == first:
            return found
    raise AssertionError(f"no row begins with {first!r}")


def busiest(demo: Demo) -> int:
    return int(
        demo.query("select delivery_id from reports.rpt_tracking_indicators order by total_click_count desc limit 1")[
            0
        ][0]
    )


def test_indicators_are_those_of_the_published_file(demo: Demo, page: Page) -> None:
    delivery_id = busiest(demo)
    opens, human_opens, reactivity, human_reactivity = demo.query(
        "select recipient_open_count, human_recipient_open_count, raw_reactivity, human_raw_reactivity"
        f" from reports.rpt_tracking_indicators where delivery_id = {delivery_id}"
    )[0]
    tested = page("delivery", delivery_id=str(delivery_id))
    assert cells(tested, "Distinct opens") == ["Distinct opens", f"{opens:,}", f"{human_opens:,}"]
    assert cells(tested, "Raw reactivity")[1:] == [f"{100 * reactivity:.1f}%", f"{100 * human_reactivity:.1f}%"]
    assert f"<dd>{opens:,}<" in shown(tested)
    assert f"<dd>{human_opens:,}<" in shown(page("delivery", delivery_id=str(delivery_id), events="human"))


def test_an_indicator_that_is_new_in_the_catalogue_is_shown(demo: Demo, page: Page, tmp_path: Path) -> None:
    import duckdb

    made = make_version(demo.published, tmp_path, 1)
    with duckdb.connect(str(made)) as con:
        con.execute("alter table reports.rpt_tracking_indicators add column brand_new_count bigint default 4711")
        con.execute(
            "insert into meta.indicator_catalogue (name, mart, definition, unit, has_human_form)"
            " values ('brand_new_count', 'rpt_tracking_indicators', 'New.', 'events', false)"
        )
    make_current(tmp_path, 1)
    tested = page("delivery", tmp_path, delivery_id=str(busiest(demo)))
    assert cells(tested, "Brand new") == ["Brand new", "4,711", "–"]


@pytest.mark.parametrize("human", [False, True])
def test_clicks_per_link_are_those_of_the_click_streams(demo: Demo, snapshot: Snapshot, human: bool) -> None:
    column = "human_click_count" if human else "click_count"
    for (delivery_id,) in demo.query("select delivery_id from reports.rpt_tracking_indicators where delivery_id <> 0"):
        rows = snapshot.rows("delivery/links", delivery_id=delivery_id, by="label", hours=None, human=human, top=500)
        expected = demo.query(
            f"select {column} from reports.rpt_url_click_streams where delivery_id = {delivery_id} order by 1 desc"
        )
        assert sorted(rows["click_count"], reverse=True) == [count for (count,) in expected]


def test_a_period_and_a_top_of_links(demo: Demo, snapshot: Snapshot) -> None:
    delivery_id = busiest(demo)
    asked: dict[str, Any] = {"delivery_id": delivery_id, "by": "label", "human": False}
    first_day = snapshot.rows("delivery/links", **asked, hours=24, top=3)
    expected = demo.query(
        "select count(*) from core.fct_tracking_events join core.dim_deliveries using (delivery_id)"
        f" where delivery_id = {delivery_id} and url_id <> 1 and is_in_time_range"
        " and occurred_at < sent_at + interval 24 hour"
    )[0][0]
    assert first_day["click_count"].sum() == expected > 0
    assert list(first_day["is_others"]) == [False, False, False, True]
    assert first_day["click_share"].sum() == pytest.approx(1)
    assert expected < snapshot.rows("delivery/links", **asked, hours=None, top=3)["click_count"].sum()


@pytest.mark.parametrize("human", [False, True])
def test_a_sparkline_begins_with_the_moment_of_sending(demo: Demo, snapshot: Snapshot, human: bool) -> None:
    expected: dict[int, list[int]] = {
        number: [0] * 24
        for (number,) in demo.query("select delivery_id from core.dim_deliveries where sent_at is not null")
    }
    for number, step, count in demo.query(
        "select delivery_id, epoch_us(occurred_at - sent_at) // 7_200_000_000, count(*)"
        " from core.fct_tracking_events join core.dim_deliveries using (delivery_id)"
        " where occurred_at >= sent_at and (url_id = 1 or url_type = 1) and is_in_time_range"
        f" and not ({human} and is_machine)"
        " group by all"
    ):
        if step < 24:
            expected[number][step] = count
    lines = snapshot.rows("dashboard/sparklines", ids=list(expected), human=human)
    assert {
        number: list(line) for number, line in zip(lines["delivery_id"], lines["sparkline"], strict=True)
    } == expected
    assert any(line[0] for line in expected.values())
    assert demo.query("select count(*) from core.dim_deliveries where extract(minute from sent_at) not in (0, 30)") > [
        (0,)
    ]


def test_opens_of_nobody_known_have_a_device_too(demo: Demo, tmp_path: Path) -> None:
    """Without consent an open counts and leads to no recipient."""
    delivery_id = busiest(demo)
    with duckdb.connect(str(make_version(demo.published, tmp_path, 1))) as connection:
        connection.execute(
            "update reports.rpt_opens_by_device set recipient_open_count = 0, human_recipient_open_count = 0"
            f" where delivery_id = {delivery_id} and browser_name = (select max(browser_name)"
            f" from reports.rpt_opens_by_device where delivery_id = {delivery_id})"
        )
    make_current(tmp_path, 1)
    opens = demo.query(f"select sum(open_count) from reports.rpt_opens_by_device where delivery_id = {delivery_id}")
    made = Published(tmp_path / "published" / "marts.duckdb").snapshot()
    rows = made.rows("delivery/devices", delivery_id=delivery_id, human=False, mobile=False)
    made.connection.close()
    assert rows["open_count"].sum() == opens[0][0]
    assert 0 in set(rows["recipient_open_count"])


def test_days_are_those_of_the_reporting_zone(demo: Demo, snapshot: Snapshot) -> None:
    delivery_id = busiest(demo)
    asked: dict[str, Any] = {"delivery_id": delivery_id, "by": "category", "hours": None, "human": False, "top": 50}
    for zone in ("UTC", "Pacific/Auckland"):
        rows = snapshot.rows("delivery/links_daily", **asked, zone=zone)
        expected = demo.query(
            f"select cast(timezone('{zone}', timezone('UTC', occurred_at)) as date), count(*)"
            f" from core.fct_tracking_events where delivery_id = {delivery_id} and url_id <> 1 and is_in_time_range"
            " group by 1 order by 1"
        )
        assert [
            (day.date(), count) for day, count in rows.groupby("clicked_on")["click_count"].sum().items()
        ] == expected


SOFTWARE = {"browsers": ("browser_name", "browser_version"), "systems": ("os_name", "os_version")}


def visitors_and_clicks(demo: Demo, keys: str, days: int, human: bool) -> dict[tuple, tuple[int, int]]:
    """Distinct recipients, and clicks, by keys, counted from the events of the last days (0: of all)."""
    clicks = (
        "select *, cast(occurred_at as date) as clicked_on from core.fct_clicks where url_type = 1 and is_in_time_range"
    )
    rows = demo.query(
        f"with clicks as ({clicks}) select {keys}, count(distinct recipient_id) filter (where recipient_id <> 0"
        f" and not (is_machine and {human})), count(*) filter (where not (is_machine and {human})) from clicks"
        f" where {days} = 0 or clicked_on > (select max(clicked_on) from clicks) - {days} group by {keys}"
    )
    return {tuple(key): (visitors, clicked) for *key, visitors, clicked in rows if clicked}


@pytest.mark.parametrize("human", [False, True])
@pytest.mark.parametrize("days", [1, 7, 30, 0])
@pytest.mark.parametrize("kind", SOFTWARE)
def test_visitors_of_a_period_are_distinct(demo: Demo, snapshot: Snapshot, kind: str, days: int, human: bool) -> None:
    name, version = (f"coalesce({column}, 'unknown')" for column in SOFTWARE[kind])
    ((everybody, _),) = visitors_and_clicks(demo, "true", days, human).values()
    of_names = visitors_and_clicks(demo, name, days, human)
    of_versions = visitors_and_clicks(demo, f"{name}, {version}", days, human)
    expected = {(key, None): (n, n / everybody, 1 if n else None, clicks) for (key,), (n, clicks) in of_names.items()}
    for (key, of_key), (n, clicks) in of_versions.items():
        of_name = of_names[key,][0]
        expected[key, of_key] = (n, n / everybody, n / of_name if of_name else None, clicks)
    rows = snapshot.rows("platform/software", kind=kind, days=days, human=human)
    found = {}
    for row in rows.to_dict("records"):
        rate = None if pd.isna(row["version_usage_rate"]) else row["version_usage_rate"]
        place = (row["name"], None if pd.isna(row["version"]) else row["version"])
        found[place] = (row["visitor_count"], row["usage_rate"], rate, row["page_count"])
    assert found == expected
    assert len(found) == len(rows)


@pytest.mark.parametrize("human", [False, True])
@pytest.mark.parametrize("kind", SOFTWARE)
def test_days_of_software_are_relative_to_the_best_day(demo: Demo, snapshot: Snapshot, kind: str, human: bool) -> None:
    name, version = (f"coalesce({column}, 'unknown')" for column in SOFTWARE[kind])
    by_day = visitors_and_clicks(demo, f"{name}, {version}, cast(occurred_at as date)", 0, human)
    in_period = visitors_and_clicks(demo, f"{name}, {version}", 7, human)
    top = sorted(in_period, key=lambda key: (-in_period[key][0], key))[:3]
    rows = snapshot.rows("platform/software_daily", kind=kind, days=7, human=human, top=3)
    assert list(dict.fromkeys(zip(rows["position"], rows["name"], rows["version"], strict=True))) == [
        (position, *key) for position, key in enumerate(top, 1)
    ]
    for row in rows.to_dict("records"):
        key = (row["name"], row["version"])
        best = max(visitors for place, (visitors, _) in by_day.items() if place[:2] == key)
        visitors, _ = by_day.get((*key, row["clicked_on"].date()), (0, 0))
        assert row["best_day_rate"] == visitors / best, row


def test_software_is_shown_with_its_versions(demo: Demo, page: Page) -> None:
    name, version = (f"coalesce({column}, 'unknown')" for column in SOFTWARE["browsers"])
    for human in (False, True):
        tested = page("platform", platform_part="software", period="0", events="human" if human else "all")
        ((everybody, _),) = visitors_and_clicks(demo, "true", 0, human).values()
        of_names = visitors_and_clicks(demo, name, 0, human)
        for (key,), (visitors, clicks) in of_names.items():
            expected = [f"{visitors:,}", f"{100 * visitors / everybody:.1f}%", f"{clicks:,}"]
            assert cells(tested, key) == [key, *expected]
        of_versions = visitors_and_clicks(demo, f"{name}, {version}", 0, human)
        key, of_key = max(of_versions, key=lambda place: of_versions[place])
        visitors, clicks = of_versions[key, of_key]
        row = [f"{visitors:,}", f"{100 * visitors / everybody:.1f}%", f"{100 * visitors / of_names[key,][0]:.1f}%"]
        assert [key, of_key, *row, f"{clicks:,}"] in rows_of(tested)
        assert len(tested.get("vega_lite_chart")) == 1


def test_software_of_an_older_version_is_said_to_come(demo: Demo, page: Page, tmp_path: Path) -> None:
    with duckdb.connect(str(make_version(demo.published, tmp_path, 1))) as connection:
        connection.execute("alter table reports.rpt_browsers drop column last_visitor_count")
    make_current(tmp_path, 1)
    assert "the next run counts them" in shown(page("platform", tmp_path, platform_part="software"))


def test_french_numbers_words_and_days(demo: Demo, page: Page) -> None:
    delivery_id = busiest(demo)
    opens, reactivity = demo.query(
        "select total_open_count, raw_reactivity from reports.rpt_tracking_indicators"
        f" where delivery_id = {delivery_id}"
    )[0]
    tested = page("delivery", delivery_id=str(delivery_id), MTW_LANGUAGE="fr")
    assert cells(tested, "Total des ouvertures")[1] == f"{opens:,}".replace(",", "\u202f")
    assert cells(tested, "Réactivité brute")[1] == f"{100 * reactivity:.1f}\u00a0%".replace(".", ",")
    assert re.search(r"<dt>Envoyée</dt><dd>\d\d/\d\d/\d{4} \d\d:\d\d</dd>", shown(tested))


def test_times_are_shown_in_the_reporting_zone(demo: Demo, page: Page) -> None:
    delivery_id = busiest(demo)
    for zone in ("UTC", "America/New_York"):
        expected = demo.query(
            f"select strftime(timezone('{zone}', timezone('UTC', sent_at)), '%Y-%m-%d %H:%M')"
            f" from core.dim_deliveries where delivery_id = {delivery_id}"
        )[0][0]
        tested = page("delivery", delivery_id=str(delivery_id), MTW_TIME_ZONE=zone)
        assert f"<dt>Sent</dt><dd>{expected}</dd>" in shown(tested)


@pytest.mark.parametrize("asked", ["", "0x1F", "-1", "1.5", "1e3", "٣", "9" * 19, "9" * 400, "1 or 1=1", "\x00", "<b>"])
@pytest.mark.parametrize("name", ["delivery", "profile"])
def test_what_is_no_id_gets_a_sentence(page: Page, name: str, asked: str) -> None:
    tested = page(name, **{f"{'delivery' if name == 'delivery' else 'recipient'}_id": asked})
    assert 'role="status"' in shown(tested)
    assert "<b>" not in shown(tested)


def test_personal_data_is_masked_unless_a_setting_shows_it(
    demo: Demo, page: Page, copied: Path, tmp_path: Path
) -> None:
    ((recipient_id, email, label),) = demo.clear(
        "select recipient_id, email, recipient_label from core.dim_recipients where recipient_id in"
        f" ({demo.query('select max(recipient_id) from reports.delivery_tracking')[0][0]})"
    )
    domain = email.partition("@")[2]
    for part in ("log", "deliveries", "subscriptions"):
        masked = shown(page("profile", recipient_id=str(recipient_id), profile_part=part))
        assert email not in masked and html.escape(label) not in masked
        assert f"•••@{domain}" in masked and f"recipient {recipient_id}" in masked
    open_ = shown(page("profile", recipient_id=str(recipient_id), MTW_SHOW_PERSONAL_DATA="1"))
    assert email in open_ and html.escape(label) in open_
    # Whoever may read the published version but not the clear values beside it sees what is published.
    lone = tmp_path / "warehouse"
    shutil.copytree(copied, lone, symlinks=True)
    (lone / "published/versions/000001/identities.duckdb").unlink()
    left = shown(page("profile", warehouse=lone, recipient_id=str(recipient_id)))
    assert email not in left and f"•••@{domain}" in left


def test_clear_names_are_shown_in_the_log_of_a_delivery(demo: Demo, page: Page) -> None:
    delivery_id = busiest(demo)
    newest = (
        f"select recipient_id from reports.delivery_tracking where delivery_id = {delivery_id} and recipient_id <> 0"
        " order by occurred_at desc, event_key limit 20"
    )
    ids = ", ".join(str(row[0]) for row in demo.query(newest))
    labels = [
        row[0] for row in demo.clear(f"select recipient_label from core.dim_recipients where recipient_id in ({ids})")
    ]
    assert len(labels) > 3
    asked = {"delivery_id": str(delivery_id), "part": "log"}
    masked = shown(page("delivery", **asked))
    assert not any(html.escape(label) in masked for label in labels)
    open_ = shown(page("delivery", **asked, MTW_SHOW_PERSONAL_DATA="1"))
    assert all(html.escape(label) in open_ for label in labels)


def test_a_masked_address_cannot_be_guessed_piece_by_piece(demo: Demo, page: Page) -> None:
    email = demo.clear("select email from core.dim_recipients where email is not null order by recipient_id limit 1")[
        0
    ][0]

    def found(text: str, **settings: str) -> bool:
        tested = page("profile", **settings)
        tested.text_input(key="profile_search").set_value(text).run()
        return "Recipients found" in shown(tested)

    assert found(email.upper())
    assert not found(email[:6])
    assert not found("%")
    assert found(email[:6], MTW_SHOW_PERSONAL_DATA="1")
    assert not found("%%%%", MTW_SHOW_PERSONAL_DATA="1")


def test_a_search_is_text_and_no_pattern(demo: Demo, page: Page) -> None:
    label = demo.query(
        "select delivery_label from reports.delivery_dashboard where delivery_id <> 0 and sent_at is not null limit 1"
    )[0][0]
    for text, expected in ((label[1:].upper(), True), ("_", False), ("' or 1=1 --", False)):
        tested = page("dashboard", q=text)
        assert ("mtw-table" in shown(tested)) is expected, text


def test_nothing_published_yet_is_said(page: Page, tmp_path: Path) -> None:
    for name in ("dashboard", "delivery", "profile", "platform", "health", "lineage"):
        assert "mtw run" in shown(page(name, tmp_path))


def test_data_health_shows_the_checks_of_the_run(demo: Demo, page: Page) -> None:
    passed, failed = demo.query(
        "select count(*) filter (where passed), count(*) filter (where not passed) from meta.check_results"
    )[0]
    assert passed > 100
    assert f"{passed:,} passed, {failed:,} did not" in shown(page("health"))


def test_lineage_names_the_personal_fields_behind_a_column(demo: Demo, page: Page) -> None:
    counted = shown(page("lineage", mart="rpt_tracking_indicators", column="person_click_count"))
    assert "landed.tracking_logs" in counted
    assert "Personal fields that it shows, counts or is chosen by:" in counted
    assert "landed.tracking_logs.visitor_id" in counted
    sent = shown(page("lineage", mart="rpt_subscriptions", column="subscription_count"))
    assert "No personal field leads to it." in sent


def test_a_path_with_a_source_of_its_own_is_shown(demo: Demo, page: Page, tmp_path: Path) -> None:
    with duckdb.connect(str(make_version(demo.published, tmp_path, 1))) as connection:
        connection.execute(
            "update reports.rpt_web_paths set traffic_source = 'portal', path_source_visitor_count = 1234,"
            " no_source_visitor_count = 0 where path_label = (select max(path_label) from reports.rpt_web_paths)"
        )
        rows = connection.execute(
            "select path_label, label, path_visitor_count, delivery_visitor_count, path_source_visitor_count,"
            " no_source_visitor_count from reports.rpt_web_paths where traffic_source = 'portal'"
        ).fetchall()
    make_current(tmp_path, 1)
    tested = page("platform", tmp_path, platform_part="web", period="0")
    assert rows and str(rows[0][0]) in shown(tested)
    for _, label, *counts in rows:
        assert cells(tested, label)[1:5] == [f"{count:,}" for count in counts]


def test_a_service_without_news_is_as_it_was(demo: Demo, page: Page, tmp_path: Path) -> None:
    with duckdb.connect(str(make_version(demo.published, tmp_path, 1))) as connection:
        quiet = "service_id = (select min(service_id) from reports.rpt_subscriptions)"
        newest = "(select max(occurred_on) from reports.rpt_subscriptions)"
        connection.execute(f"delete from reports.rpt_subscriptions where {quiet} and occurred_on > {newest} - 10")
        label, subscribers = connection.execute(
            f"select service_label, end_subscriber_count from reports.rpt_subscriptions where {quiet}"
            " order by occurred_on desc limit 1"
        ).fetchall()[0]
        everybody = dict(
            connection.execute(
                "select service_label, arg_max(end_subscriber_count, occurred_on) from reports.rpt_subscriptions"
                " group by service_label"
            ).fetchall()
        )
    make_current(tmp_path, 1)
    tested = page("platform", tmp_path, platform_part="subscriptions", period="7")
    assert cells(tested, label)[1:5] == [f"{subscribers:,}", "0", "0", "0"]
    assert subscribers > 0 and len(everybody) == 3
    for service_label, count in everybody.items():
        assert cells(tested, service_label)[-1] == f"{count:,}"


def test_every_page_of_a_spoilt_version_is_escaped(demo: Demo, page: Page, tmp_path: Path) -> None:
    delivery_id = busiest(demo)
    recipient_id = demo.query(
        f"select recipient_id from reports.profile_tracking where delivery_id = {delivery_id} and recipient_id <> 0"
        " limit 1"
    )[0][0]
    make_hostile(make_version(demo.published, tmp_path, 1), delivery_id, recipient_id)
    make_current(tmp_path, 1)
    asked = [("dashboard", {}), ("health", {})]
    asked += [
        ("delivery", {"delivery_id": str(delivery_id), "part": part})
        for part in ("links", "devices", "failures", "log")
    ]
    asked += [("profile", {"recipient_id": str(recipient_id), "profile_part": part}) for part in ("log", "deliveries")]
    asked += [("platform", {"platform_part": part, "period": "0"}) for part in ("software", "subscriptions", "web")]
    for name, parameters in asked:
        tested = page(name, tmp_path, MTW_SHOW_PERSONAL_DATA="1", **parameters)
        text = shown(tested)
        assert "document.title" in text, f"{name} {parameters} shows the text"
        assert not re.search(r"<(img|script|svg)|\u202e", text)
        # Nothing of it is in what the framework reads as Markdown.
        for element in (*tested.markdown, *tested.selectbox, *tested.button, *tested.expander):
            assert "evil.test" not in f"{getattr(element, 'label', '')}{getattr(element, 'value', '')}"


def test_queries_are_all_used_and_read_published_tables_only(demo: Demo) -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "reports").rglob("*.py"))
    named = {str(path.relative_to(QUERIES).with_suffix("")) for path in QUERIES.rglob("*.sql")}
    assert {name for name in named if f'"{name}"' not in sources} == set()
    for name in named:
        assert sql(name).startswith("-- "), f"{name} says what it is"
        tables = set(re.findall(r"\b(?:from|join) (\w+\.\w+)", sql(name)))
        assert {table.split(".")[0] for table in tables} <= {"core", "reports", "meta"}, name


def test_words_are_there_in_both_languages() -> None:
    entries = words_module.words()
    for key, texts in entries.items():
        assert len(texts) == 2 and all(texts), key
        first, second = ({*re.findall(r"{(\w+)}", text)} for text in texts)
        assert first == second, f"{key} has the same places in both languages"
    sources = "\n".join(path.read_text() for path in (ROOT / "reports").rglob("*.py"))
    used = set(re.findall(r'language\(\s*"(\w+)"', sources))
    assert used - set(entries) == set()
    labelled = {"delivery_count", "projected_open_count"}
    assert {Language("fr").indicator(name) for name in labelled} == {"Delivery", "Projected open"}
