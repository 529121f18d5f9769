"""What keeps hostile data inert in the report pages: the drawing of mails, escaping, exports, masks, who may come."""

import html
import io
import re
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from log_ingest.content_links import links
from orchestration.access import AUTH_KEYS, AccessError, allowed
from orchestration.cli import main
from orchestration.serve import pages_command
from orchestration.settings import Settings, SettingsError
from orchestration.text import FORMULA_STARTS, csv_cell

pytest.importorskip("streamlit")

from reports import text as of_pages
from reports.hot_clicks import MAX_LINKS, Badge, drawn, framed
from reports.language import Language
from reports.personal import mask_address, mask_link, mask_name, masked
from reports.text import csv_bytes, escaped, visible
from reports.view import as_id

PIECES = [
    *(
        "<a href='x'>",
        "<a href=''>",
        "<a>",
        "<a name=n>",
        "</a>",
        "<A HREF=q>",
        "<area href=m>",
        "<map>",
        "</map>",
        "text",
    ),
    *(
        "<p>",
        "</p>",
        "<table>",
        "<td>",
        "<tr>",
        "</table>",
        "<div",
        ">",
        "<",
        "</div>",
        "<b>",
        "</b>",
        "<img src=e alt=x>",
    ),
    *(
        "<!--",
        "-->",
        "<script>",
        "</script>",
        "<style>",
        "</style>",
        "<textarea>",
        "</textarea>",
        "<noscript>",
        "<svg>",
    ),
    *(
        "<title>",
        "</title>",
        "<% if (x > 1) { %>",
        "<%= y %>",
        "%>",
        "<%",
        "&#xe002;1&#xe003;",
        "\ue0021\ue003",
        "&lt;a",
    ),
    *(
        "<plaintext>",
        "<iframe>",
        "</iframe>",
        "<select>",
        "<option>",
        "<body onload=x>",
        "<html>",
        "\x00",
        "é",
        "'",
        '"',
    ),
]


def all_badges(content: str) -> dict[int, Badge]:
    return {position: Badge(f"#{position}#", 0.5) for position in range(1, len(links(content)) + 1)}


def badge_texts(body: str) -> list[str]:
    return re.findall(r'<span class="mtw-badge"[^>]*>#(\d+)#</span>', body)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
def test_a_link_is_drawn_once_and_only_where_ingest_counts_it(content: str) -> None:
    """Ingest and the pages each read the HTML; whatever it is, they agree on which link is the n-th."""
    drawn_at = Counter(badge_texts(drawn(content, all_badges(content))))
    assert max(drawn_at.values(), default=0) <= 1, "no badge is forged or doubled"
    if "<style" in content or "<script" in content or "<title" in content or "<select" in content:
        # What stands in these is no content, so that a link there may have no place.
        return
    assert set(map(int, drawn_at)) == set(range(1, len(links(content)) + 1))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
def test_what_is_drawn_holds_nothing_that_acts(content: str) -> None:
    body = drawn(content, all_badges(content)).replace("</style>", "").split("<style>")[-1]
    assert not re.search(
        r"<\s*/?\s*(script|iframe|object|embed|form|input|svg|math|link|meta|base|body|html|select)\b", body, re.I
    )
    assert not re.search(r"<[^>]*\s(on\w+|href|srcset|background)\s*=", body)


def test_badges_stand_in_their_links() -> None:
    content = "<p><a href='x'>One</a> <a href='mailto:u'><img alt='Two'></a> <a>no</a> <a href='y'>Three"
    body = drawn(content, {1: Badge("10%", 0), 3: Badge("90%", 1, '"><script>')})
    found = re.findall(r"<a>(.*?)</a>", re.sub(r' style="[^"]*"', "", body))
    assert found == [
        'One<span class="mtw-badge" title="">10%</span>',
        '<img alt="Two">',
        "no",
        'Three<span class="mtw-badge" title="&quot;&gt;&lt;script&gt;">90%</span>',
    ]


def test_images_of_the_mail_itself_stay_and_others_go() -> None:
    body = drawn(
        "<img src='data:image/gif;base64,R0' alt=a><img src='http://x/y' alt=b width=9><img src='//x' alt=c>", {}
    )
    assert re.findall(r"<img[^>]*>", body) == [
        '<img src="data:image/gif;base64,R0" alt="a">', '<img alt="b" width="9">', '<img alt="c">',
    ]  # fmt: skip


def test_personalisation_is_text() -> None:
    body = drawn("<p title='<%= \"x\" %>'>Hello <%= recipient.firstName %><% <b> %></p>", {})
    assert "Hello &lt;%= recipient.firstName %&gt;&lt;% &lt;b&gt; %&gt;</p>" in body
    assert 'title=""' in body


def test_a_mail_of_a_megabyte_is_drawn() -> None:
    content = "<div>" * 2_000 + "<a href='x'>l</a>" * (MAX_LINKS + 5) + "text " * 100_000
    assert len(badge_texts(drawn(content, all_badges(content)))) == MAX_LINKS


def test_the_frame_is_closed_twice() -> None:
    outer = framed("<p>Mail</p>", 'A "title"', "en")
    assert outer.count("<iframe") == 1
    assert 'sandbox=""' in outer
    inner = html.unescape(re.search(r'srcdoc="([^"]*)"', outer)[1])  # type: ignore[index]
    for document in (outer, inner):
        policy = re.search(r'Content-Security-Policy" content="([^"]*)"', document)
        assert policy and policy[1] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
        assert document.index("Content-Security-Policy") < document.index("<style>")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "  =1", "＝1", "=cmd|' /C calc'!A0"])
def test_no_cell_of_an_export_is_a_formula(text: str) -> None:
    written = csv_bytes(pd.DataFrame({"label": [text, None], "value": [-1, 2]}))
    read = pd.read_csv(io.BytesIO(written), encoding="utf-8-sig", keep_default_na=False)
    assert read["label"].tolist() == [f"'{text}", ""]
    assert read["value"].tolist() == [-1, 2], "numbers stay numbers"
    assert csv_cell(text) == f"'{text}", "the command line writes CSV, too"


def test_pages_and_command_line_know_the_same_beginnings_of_formulas() -> None:
    """The pages import nothing of orchestration, so each has a list."""
    assert of_pages._FORMULA == FORMULA_STARTS


def test_text_stays_text() -> None:
    assert escaped('<a href="x">\'&\x00\u202e') == "&lt;a href=&quot;x&quot;&gt;&#x27;&amp;\ufffd\ufffd"
    assert visible("Été 日本 🙂") == "Été 日本 🙂"


def test_masks() -> None:
    assert mask_address("jane.doe@example.org") == "j•••@example.org"
    assert mask_address("jane") == "•••"
    assert mask_name("Jane van Doe") == "J. v. D."
    assert mask_name("jane@example.org") == "j•••@example.org"
    assert mask_name("recipient 12") == "recipient 12"
    assert mask_link("https://x/p?email=jane@example.org#top") == "https://x/p?•••"
    assert mask_link("https://x/p#jane") == "https://x/p?•••"
    assert mask_link("https://x/p") == "https://x/p"
    rows = pd.DataFrame({"email": ["jane@x.org", None], "label": ["Jane", "x"], "url": ["u?a", None]})
    assert masked(rows).fillna("–").to_dict("list") == {
        "email": ["j•••@x.org", "–"],
        "label": ["Jane", "x"],
        "url": ["u?•••", "–"],
    }


def test_ids() -> None:
    assert as_id(str(2**63 - 1)) == 2**63 - 1
    assert [as_id(text) for text in (None, "", "x", "-1", " 1", "1_0", "²", str(2**63), "1" * 5000)] == [None] * 9


def test_durations() -> None:
    language = Language("en")
    assert [language.duration(seconds) for seconds in (5, 65, 3_725, 90_061, -65, None)] == [
        "5 s", "1 min 05 s", "1 h 02 min", "1 d 1 h", "−1 min 05 s", "–",
    ]  # fmt: skip


def setting(tmp_path: Path, **variables: str) -> Settings:
    return Settings.load({"MTW_WAREHOUSE_DIR": str(tmp_path), **variables}, dotenv=tmp_path / ".env")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_this_machine_needs_no_login(tmp_path: Path, host: str) -> None:
    access = allowed(setting(tmp_path), host)
    assert (access.dagster_host, access.pages_host) == (host, host)
    assert "localhost" in access.host_names, "no other name leads to the pages"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "warehouse.example.org", "127.0.0.1.example.org"])
def test_other_machines_need_one(tmp_path: Path, host: str) -> None:
    with pytest.raises(AccessError, match="MTW_LOGIN"):
        allowed(setting(tmp_path), host)
    behind_proxy = allowed(setting(tmp_path, MTW_LOGIN="proxy"), host)
    assert (behind_proxy.dagster_host, behind_proxy.pages_host) == (host, host)


def test_the_dagster_ui_stays_here_where_only_the_pages_ask_who_it_is(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.toml"
    secrets.write_text("[auth]\n" + "\n".join(f'{key} = "x"' for key in AUTH_KEYS))
    access = allowed(setting(tmp_path, MTW_LOGIN="oidc", MTW_LOGIN_SECRETS=str(secrets)), "0.0.0.0")
    assert (access.dagster_host, access.pages_host) == ("127.0.0.1", "0.0.0.0")
    assert str(secrets) in pages_command(access, 8501)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (None, "cannot be read"),
        ("[auth", "no TOML"),
        ("x = 1", "lacks redirect_uri"),
        ("[auth]\nclient_id = 'x'", "lacks redirect_uri, cookie"),
    ],
)
def test_a_login_that_is_not_set_up_is_refused(tmp_path: Path, written: str | None, says: str) -> None:
    secrets = tmp_path / "secrets.toml"
    if written is not None:
        secrets.write_text(written)
    with pytest.raises(AccessError, match=says):
        allowed(setting(tmp_path, MTW_LOGIN="oidc", MTW_LOGIN_SECRETS=str(secrets)), "127.0.0.1")
    with pytest.raises(AccessError, match="MTW_LOGIN_SECRETS"):
        allowed(setting(tmp_path, MTW_LOGIN="oidc"), "127.0.0.1")


def test_serve_refuses_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTW_WAREHOUSE_DIR", str(tmp_path / "warehouse"))
    monkeypatch.delenv("MTW_LOGIN", raising=False)
    result = CliRunner().invoke(main, ["serve", "--host", "0.0.0.0"])
    assert result.exit_code == 1
    assert result.stderr.startswith("mtw: other machines can reach 0.0.0.0") and result.stderr.count("\n") == 1
    assert not (tmp_path / "warehouse").exists(), "nothing was started"


@pytest.mark.parametrize(("name", "value"), [("MTW_LANGUAGE", "de"), ("MTW_LOGIN", "yes")])
def test_settings_that_mean_nothing_are_refused(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is '{value}'"):
        setting(tmp_path, **{name: value})
