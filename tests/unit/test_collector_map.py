"""The collector's map of links: an address stays an address, whatever was declared."""

from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.collector_map import unfit, written
from tests.conftest import mtw


def test_both_forms() -> None:
    links = [(0x281A4D8, 0x281A4DA, "https://shop.example/a?b=1&c=2#d"), (0, 17, "http://shop.example")]
    assert written(links, "nginx").lines == [
        '"281a4d8:281a4da" "https://shop.example/a?b=1&c=2#d";',
        '"0:11" "http://shop.example";',
    ]
    assert written(links, "apache").lines == [
        "281a4d8:281a4da https://shop.example/a?b=1&c=2#d",
        "0:11 http://shop.example",
    ]


@pytest.mark.parametrize(
    ("address", "target"),
    [
        (' https://x.example/a b ', "https://x.example/a%20b"),
        ('https://x.example/";return 302 $host;"', "https://x.example/%22;return%20302%20%24host;%22"),
        ("https://x.example/\n#evil", "https://x.example/%0A#evil"),
        ("https://x.example/a\\", "https://x.example/a%5C"),
        ("https://x.example/a%20b?q=%C3%A9é", "https://x.example/a%20b?q=%C3%A9%C3%A9"),
        ("https://x.example/${args}", "https://x.example/%24%7Bargs%7D"),
    ],
)  # fmt: skip
def test_what_means_something_to_a_server_is_escaped(address: str, target: str) -> None:
    assert written([(1, 2, address)], "nginx").lines == [f'"1:2" "{target}";']
    assert written([(1, 2, address)], "apache").lines == [f"1:2 {target}"]


@pytest.mark.parametrize(
    "address",
    [
        "", "shop.example", "/relative", "javascript:alert(1)", "ftp://x.example/", "https://", "http://[::1",
        "https://x.example/$(p1)", "https://<%= host %>/", "https://x.example/" + "a" * 3000,
    ],
)  # fmt: skip
def test_what_is_no_plain_web_address_is_left_out(address: str) -> None:
    found = written([(1, 2, address)], "nginx")
    assert found.lines == []
    assert list(found.left_out.values()) == [1]


@given(st.text(max_size=60))
def test_no_address_leaves_its_place(text: str) -> None:
    address = "https://x.example/" + text
    for line in written([(1, 2, address)], "nginx").lines:
        assert line.startswith('"1:2" "https://x.example/')
        assert line.endswith('";')
        assert not set(line[7:-2]) & set('"\\$ \t\r\n') and line.isascii()
    assert written([(1, 2, address)], "nginx").lines or unfit(address)


def test_the_command_prints_the_published_links(landing: Path, warehouse: Path) -> None:
    early = mtw("collector-map", "nginx", landing=landing, warehouse=warehouse)
    assert (early.returncode, early.stdout, early.stderr.count("\n")) == (1, "", 1)
    assert "mtw run" in early.stderr
    (warehouse / "published").mkdir(parents=True)
    with duckdb.connect(str(warehouse / "published" / "marts.duckdb")) as con:
        con.execute("create schema core")
        con.execute(
            "create table core.dim_tracked_urls as from (values (20, 1, null), (20, 2, 'https://x.example/'),"
            " (0, 3, 'https://y.example/'), (20, 4, 'mailto:a@b.c'), (20, 5, null)) t(delivery_id, url_id, source_url)"
        )
    done = mtw("collector-map", "nginx", landing=landing, warehouse=warehouse)
    assert done.stdout == '"0:3" "https://y.example/";\n"14:2" "https://x.example/";\n'
    assert done.stderr == "2 links\nleft out: 1 (no web address)\n"
    done = mtw("collector-map", "apache", landing=landing, warehouse=warehouse)
    assert done.stdout == "0:3 https://y.example/\n14:2 https://x.example/\n"
    assert mtw("collector-map", "iis", landing=landing, warehouse=warehouse).returncode == 2
