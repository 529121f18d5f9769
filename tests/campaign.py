"""The platform's tables as tests need them, and the same rows as reference files: two ways to say one thing.

The tables have the columns that the shipped mapping names, with the types of an installation, and a few more.
"""

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb

from log_ingest.catalog import REFERENCE_ENTITIES
from tests.postgres import Database

TABLES = """
create table {s}nmsoperation (ioperationid integer primary key, slabel varchar(128));
create table {s}nmsdelivery (
    ideliveryid integer primary key, sinternalname varchar(100), slabel varchar(128), ioperationid integer not null,
    imessagetype smallint not null, itypologyid integer not null, ifcp smallint not null, tscontact timestamptz,
    tsvalidity timestamptz, itodeliver integer not null, ireject integer not null, istate smallint not null,
    iismodel smallint not null, sdeliverycode varchar(36), mdata text, tslastmodified timestamptz);
create table {s}nmsbroadlogmsg (ibroadlogmsgid integer primary key, ifailurereason smallint, stext varchar(614));
create table {s}nmsbroadlogrcp (
    ibroadlogid integer primary key, ideliveryid integer not null, irecipientid integer not null,
    istatus smallint not null, imsgid integer not null, iflags smallint not null, saddress varchar(512),
    tsevent timestamptz, tslastmodified timestamptz);
create index nmsbroadlogrcp_lastmodified on {s}nmsbroadlogrcp (tslastmodified);
create table {s}nmstrackingurl (
    itrackingurlid integer primary key, ideliveryid integer not null, itype smallint not null, slabel varchar(300),
    ssource varchar(1000), scategory varchar(100));
create table {s}nmsrecipient (
    irecipientid integer primary key, semail varchar(128), sfirstname varchar(100), slastname varchar(100),
    slanguage varchar(32), iblacklist smallint not null, iblacklistemail smallint not null,
    iemailformat smallint not null, tscreated timestamp, tslastmodified timestamp);
create table {s}nmsservice (
    iserviceid integer primary key, slabel varchar(128), sname varchar(64), itype smallint, tslastmodified timestamp);
create table {s}nmssubhisto (
    iserviceid integer not null, irecipientid integer not null, iaction smallint not null, tsdate timestamp not null);
"""

DELIVERIES, RECIPIENTS, SERVICES = (-2_000_000_000, 71, 72), 40, 2
START = "2026-03-01 10:00:00"
HTML = '<a href="http://x.example/?a=1&b=2">Grüße — "日本"</a>'
AWKWARD = [
    "plain",
    "Grüße, 日本",
    'a "quoted", label',
    "two\nlines",
    "tab\there",
    " space ",
    "\\N",
    "\\.",
    "''; --",
    "",
]


def create(database: Database, schema: str = "") -> None:
    """Create the tables, empty, with the records 0 that the platform keeps."""
    database.execute(TABLES.format(s=f"{schema}." if schema else ""))


def fill(database: Database, messages: int = 120) -> None:
    """Put a small, awkward campaign into the tables: negative ids, NULLs, other scripts, records 0 and templates."""
    insert(database, "nmsoperation", [{"ioperationid": 0}, {"ioperationid": 9, "slabel": "Spring"}])
    base = {"imessagetype": 0, "itypologyid": 5, "ifcp": 0, "istate": 85, "iismodel": 0, "ireject": 3}
    insert(
        database,
        "nmsdelivery",
        [
            {**base, "ideliveryid": 0, "ioperationid": 0, "itodeliver": 0},
            {**base, "ideliveryid": 1, "ioperationid": 0, "itodeliver": 0, "iismodel": 1, "slabel": "a template"},
            {
                **base, "ideliveryid": DELIVERIES[0], "sinternalname": "DM1", "slabel": 'Grüße, "日本"',
                "ioperationid": 9,
                "tscontact": f"{START}+00", "tsvalidity": "2026-03-08 10:00:00.123456+01", "itodeliver": 100,
                "sdeliverycode": "c1", "tslastmodified": f"{START}+00",
                "mdata": f"<delivery><content><html><source><![CDATA[{HTML}]]></source></html>"
                "<text><source>plain &amp; simple</source></text></content></delivery>",
            },
            {
                **base, "ideliveryid": DELIVERIES[1], "ioperationid": 0, "itodeliver": 20, "imessagetype": 1, "ifcp": 1,
                "mdata": "<not well formed", "tslastmodified": f"{START}+00",
            },
            # Never stamped: some imports do not.
            {**base, "ideliveryid": DELIVERIES[2], "ioperationid": 0, "itodeliver": 0, "imessagetype": 77},
        ],
    )  # fmt: skip
    insert(
        database,
        "nmsbroadlogmsg",
        [{"ibroadlogmsgid": 0, "ifailurereason": 0}, {"ibroadlogmsgid": 4, "ifailurereason": 1, "stext": "550 who?"}],
    )
    insert(
        database, "nmsbroadlogrcp", [message(0, irecipientid=0)] + [message(number) for number in range(1, messages)]
    )
    insert(
        database,
        "nmstrackingurl",
        [{"itrackingurlid": 0, "ideliveryid": 0, "itype": 0}]
        + [
            {
                "itrackingurlid": -500 + place, "ideliveryid": DELIVERIES[place % 2], "itype": (1, 3, 6)[place % 3],
                "slabel": label, "ssource": f"http://x.example/{place}?q='\";",
                "scategory": None if place % 2 else "shop",
            }
            for place, label in enumerate(AWKWARD)
        ],
    )  # fmt: skip
    insert(
        database,
        "nmsrecipient",
        [
            {
                "irecipientid": number, "semail": f"r{number}@example.com" if number else None,
                "sfirstname": AWKWARD[number % len(AWKWARD)], "slastname": None, "slanguage": "fr",
                "iblacklist": int(number == 3), "iblacklistemail": int(number == 4), "iemailformat": number % 3,
                "tscreated": "2025-12-31 23:59:59.5", "tslastmodified": START,
            }
            for number in range(RECIPIENTS)
        ],
    )  # fmt: skip
    insert(
        database,
        "nmsservice",
        [
            {"iserviceid": number, "slabel": f"Letter {number}", "sname": f"SVC{number}", "itype": number - 1,
             "tslastmodified": START}
            for number in range(SERVICES + 1)
        ],
    )  # fmt: skip
    insert(
        database,
        "nmssubhisto",
        [
            {"iserviceid": 1 + number % 2, "irecipientid": number, "iaction": number % 3 % 2,
             "tsdate": f"2026-02-01 0{number % 10}:00:00"}
            for number in range(1, 20)
        ],
    )  # fmt: skip


def message(number: int, **values: Any) -> dict[str, Any]:
    """A row of the broad log. Ids below 0 as Campaign has them once its sequence has run over."""
    failed, minute = number % 10 == 0, f"2026-03-01 {number % 24:02}:{number % 60:02}"
    return {
        "ibroadlogid": number - 50 if 0 < number < 50 else number, "ideliveryid": DELIVERIES[number % 2],
        "irecipientid": number % (RECIPIENTS - 1) + 1, "istatus": 2 if failed else (1, 6, 7, 1)[number % 4],
        "imsgid": 4 if failed else 0, "iflags": 0, "saddress": f"r{number}@exämple.com",
        "tsevent": f"{minute}:00.25+00", "tslastmodified": f"{minute}:01+00",
        **values,
    }  # fmt: skip


def insert(database: Database, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
    with database.connect() as connection:
        for row in rows:
            names, values = ", ".join(row), ", ".join(f"%({name})s" for name in row)
            connection.execute(f"insert into {table} ({names}) values ({values})", row)  # type: ignore[arg-type]


def write_files(database: Database, landing: Path) -> None:
    """The same rows as CSV files with canonical columns, translated here by hand."""
    where = {
        row[0]: row[1:] for row in database.query("select ibroadlogmsgid, ifailurereason, stext from nmsbroadlogmsg")
    }
    channels = {0: "email", 1: "sms", 2: "phone", 3: "direct mail", 4: "fax"}
    write_csv(
        landing,
        "deliveries",
        [
            {
                "delivery_id": row["ideliveryid"], "internal_name": row["sinternalname"], "label": row["slabel"],
                "campaign_label": "Spring" if row["ioperationid"] == 9 else None,
                "channel": channels.get(row["imessagetype"], row["imessagetype"]), "typology": row["itypologyid"],
                "is_proof": row["ifcp"], "sent_at": row["tscontact"], "validity_end_at": row["tsvalidity"],
                "target_count": row["itodeliver"] + row["ireject"], "rejected_count": row["ireject"],
                "to_deliver_count": row["itodeliver"],
                "html_content": HTML if row["sinternalname"] == "DM1" else None,
                "text_content": "plain & simple" if row["sinternalname"] == "DM1" else None,
                "state": row["istate"], "delivery_code": row["sdeliverycode"],
            }
            for row in rows(database, "nmsdelivery") if row["ideliveryid"] and not row["iismodel"]
        ],
    )  # fmt: skip
    write_csv(
        landing,
        "messages",
        [
            {
                "message_id": row["ibroadlogid"], "delivery_id": row["ideliveryid"],
                "recipient_id": row["irecipientid"], "address": row["saddress"],
                "status": row["istatus"], "failure_reason": where[row["imsgid"]][0],
                "event_at": row["tsevent"], "flags": row["iflags"], "failure_text": where[row["imsgid"]][1],
            }
            for row in rows(database, "nmsbroadlogrcp") if row["ibroadlogid"]
        ],
    )  # fmt: skip
    write_csv(
        landing,
        "tracked_urls",
        [
            {
                "url_id": row["itrackingurlid"], "delivery_id": row["ideliveryid"], "label": row["slabel"],
                "source_url": row["ssource"], "category": row["scategory"], "url_type": row["itype"],
            }
            for row in rows(database, "nmstrackingurl") if row["itrackingurlid"]
        ],
    )  # fmt: skip
    write_csv(
        landing,
        "recipients",
        [
            {
                "recipient_id": row["irecipientid"], "email": row["semail"], "first_name": row["sfirstname"],
                "last_name": row["slastname"], "language": row["slanguage"], "created_at": row["tscreated"],
                "is_denylisted": bool(row["iblacklist"] or row["iblacklistemail"]), "email_format": row["iemailformat"],
            }
            for row in rows(database, "nmsrecipient") if row["irecipientid"]
        ],
    )  # fmt: skip
    write_csv(
        landing,
        "services",
        [
            {"service_id": row["iserviceid"], "label": row["slabel"], "channel": channels[row["itype"]],
             "name": row["sname"]}
            for row in rows(database, "nmsservice") if row["iserviceid"]
        ],
    )  # fmt: skip
    write_csv(
        landing,
        "subscriptions",
        [
            {"service_id": row["iserviceid"], "recipient_id": row["irecipientid"], "action": row["iaction"],
             "occurred_at": row["tsdate"]}
            for row in rows(database, "nmssubhisto")
        ],
    )  # fmt: skip


def rows(database: Database, table: str) -> list[dict[str, Any]]:
    with database.connect() as connection:
        cursor = connection.execute(f"select * from {table}")  # type: ignore[arg-type]
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def write_csv(landing: Path, entity: str, rows: list[dict[str, Any]], name: str = "extract.csv") -> Path:
    path = landing / "reference" / entity / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


def current(warehouse: Path) -> dict[str, dict[tuple, dict[str, Any]]]:
    """The newest landed version of each key of each entity, without provenance: what the models go on with."""
    found: dict[str, dict[tuple, dict[str, Any]]] = {}
    con = duckdb.connect()
    for entity in REFERENCE_ENTITIES:
        cursor = con.execute(
            f"select * from read_parquet('{warehouse}/landed/{entity.name}/*/*.parquet')"
            " order by file_modified_at, source_file, line_number"
        )
        names = [column[0] for column in cursor.description or ()]
        newest: dict[tuple, dict[str, Any]] = {}
        for values in cursor.fetchall():
            row = dict(zip(names, values, strict=True))
            newest[tuple(row[column] for column in entity.key)] = {
                **{column.name: row[column.name] for column in entity.columns},
                "extra": json.loads(row["extra"] or "{}"),
                "row_hash": row["row_hash"],
            }
        found[entity.name] = newest
    return found
