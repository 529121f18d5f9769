"""A small landing folder of every format: Robin, who will be erased, stands beside Quinn and Sam, who will not."""

import csv
import io
from pathlib import Path

from tests.accesslines import access_log, hit, request
from tests.espevents import jsonl, sendgrid
from tests.loglines import line, logs

ROBIN, QUINN, SAM = 70_001_001, 70_001_002, 70_001_003
ROBINS, ROBINS_SECOND, QUINNS, SAMS = 0x7A00_1001, 0x9A00_1002, 0x7A00_2001, 0x7A00_3001
"""Messages; the second of Robin's has a negative id on the platform."""
DELIVERY, OTHER_DELIVERY = 0x1AEAB4B6, 0x1AEAB4B7
HER_VISITOR = "0aaaaaaa-1111-4111-8111-111111111111"
SHARED_VISITOR = "0bbbbbbb-2222-4222-8222-222222222222"
QUINNS_VISITOR = "0ccccccc-3333-4333-8333-333333333333"
HER_IP, HER_AGENT = "198.51.100.77", "RobinsOwnMailer/9.9 (custom; GoogleImageProxy)"
HER_ADDRESS, HER_OLD_ADDRESS = "Robin.Hood@sherwood.example", "rh@old.example"
HERS = {
    *(str(ROBIN), str(ROBINS), str(ROBINS_SECOND), str(ROBINS_SECOND - 2**32), f"{ROBINS:x}", f"{ROBINS_SECOND:x}"),
    *(HER_VISITOR, HER_IP, "RobinsOwnMailer", HER_ADDRESS, HER_ADDRESS.replace("@", "%40"), HER_OLD_ADDRESS),
    *("Robinetta", "Hoodwink", "crm-4711", "sg-robin-1", "Robins secret"),
}
"""What must be nowhere: ids, names, further columns, her own machine, the provider's ids of her events."""

NOON = 1_714_564_800  # 2024-05-01 12:00:00 UTC


def her_lines() -> list[bytes]:
    return [
        line(1, message=ROBINS, delivery=DELIVERY, visitor=HER_VISITOR, agent=HER_AGENT, ip=HER_IP),
        line(2, message=ROBINS, delivery=DELIVERY, url=5, visitor=HER_VISITOR, params="p1=Robins+secret&amount=12"),
        # Sent on to somebody who also gets mail of their own.
        line(3, message=ROBINS_SECOND, delivery=OTHER_DELIVERY, url=5, visitor=SHARED_VISITOR),
        # A page, without a message: only the cookie says who it is.
        line(4, message=0, delivery=0, url=9, visitor=HER_VISITOR, params="tagid=home"),
        # A page that names her to somebody else's cookie.
        line(5, message=0, delivery=0, url=9, visitor=QUINNS_VISITOR, params=f"tagid=home&rcpid=id%3D{ROBIN}"),
    ]


def others_lines() -> list[bytes]:
    return [
        line(6, message=QUINNS, delivery=DELIVERY, visitor=QUINNS_VISITOR),
        line(7, message=QUINNS, delivery=DELIVERY, url=5, visitor=SHARED_VISITOR, params="p1=x&amount=3"),
        line(8, message=SAMS, delivery=OTHER_DELIVERY, visitor="0ddddddd-4444-4444-8444-444444444444"),
    ]


def refused_lines() -> list[bytes]:
    """Quarantined, hers and another's: the published example's missing field."""
    hers = line(9, message=ROBINS_SECOND, url=5).replace(b"\t\tMozilla", b"\tMozilla")
    others = line(10, message=SAMS, url=5).replace(b"\t\tMozilla", b"\tMozilla")
    return [hers, others]


def reference(landing: Path, entity: str, rows: list[dict[str, object]], name: str = "extract.csv") -> None:
    path = landing / "reference" / entity / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")


def recipients() -> list[dict[str, object]]:
    def one(number: int, email: str, first: str, last: str, crm: str) -> dict[str, object]:
        return {"recipient_id": number, "email": email, "first_name": first, "last_name": last, "crm": crm}

    return [
        one(ROBIN, HER_ADDRESS, "Robinetta", "Hoodwink", "crm-4711"),
        one(QUINN, "quinn@home.example", "Quinn", "Family", "crm-4712"),
        one(SAM, "sam@home.example", "Sam", "Family", "crm-4713"),
        # Cannot be read, and names her.
        {**one(0, HER_ADDRESS, "Robinetta", "Hoodwink", "crm-4711"), "recipient_id": "none"},
    ]


def messages(*further: tuple[int, int, int, str]) -> list[dict[str, object]]:
    known = (
        (ROBINS, DELIVERY, ROBIN, HER_OLD_ADDRESS),
        (ROBINS_SECOND - 2**32, OTHER_DELIVERY, ROBIN, HER_ADDRESS),
        (QUINNS, DELIVERY, QUINN, "quinn@home.example"),
        (SAMS, OTHER_DELIVERY, SAM, "sam@home.example"),
        *further,
    )
    names = ("message_id", "delivery_id", "recipient_id", "address")
    return [{**dict(zip(names, row, strict=True)), "status": 1, "failure_text": f"250 ok {row[3]}"} for row in known]


def write_all(landing: Path) -> None:
    first = her_lines()[0]
    logs(landing, "redir5/0x1.log", *her_lines(), *others_lines(), *refused_lines(), first, line(11, message=QUINNS))
    access_log(
        landing,
        "web/access.log",
        hit(ROBINS, DELIVERY, 5, ip=HER_IP, agent=HER_AGENT, appended=f' "-" "uuid230={HER_VISITOR}"'),
        # No hit, but of her machine; and somebody else's, whose referrer tells of her.
        request("/logo.png", ip=HER_IP, status=200),
        request("/logo.png", ip="192.0.2.9", status=200),
        hit(QUINNS, DELIVERY, 1, referrer=f"https://t.example/r/?id=h{ROBINS:x},{DELIVERY:x},5"),
        hit(SAMS, OTHER_DELIVERY, 1),
    )
    jsonl(
        landing,
        "sendgrid/a.jsonl",
        [
            sendgrid("open", NOON, HER_ADDRESS, message_id=str(ROBINS), sg_event_id="sg-robin-1", ip=HER_IP),
            sendgrid("open", NOON + 1, "quinn@home.example", message_id=str(QUINNS)),
        ],
        # Nothing but the address says whom it is about.
        sendgrid("bounce", NOON + 2, HER_OLD_ADDRESS, reason=f"552 5.2.2 {HER_OLD_ADDRESS} mailbox full"),
        sendgrid("delivered", NOON + 3, "sam@home.example", message_id=str(SAMS)),
    )
    reference(landing, "recipients", recipients())
    reference(landing, "messages", messages())
    reference(
        landing,
        "subscriptions",
        [
            {"service_id": 1, "recipient_id": number, "occurred_at": f"2024-04-0{day}", "action": 1}
            for day, number in enumerate((ROBIN, QUINN), 1)
        ],
    )
    reference(
        landing,
        "consents",
        [
            {"recipient_id": number, "purpose": "open_tracking", "withdrawn_at": "2024-05-01 11:00:00", "by": who}
            for number, who in ((ROBIN, "Robinetta"), (QUINN, "Quinn"))
        ],
    )
