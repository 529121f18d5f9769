"""What each provider POSTs for one event: JSON as its public webhook reference shows it.

Belongs here: the payloads of SendGrid, Mailgun, Amazon SES and Postmark. Does not: what they tell (provider), how
POSTs become files (esp_feed).

How a message is named differs on purpose: SendGrid and Mailgun carry our message id, SES delivery and recipient,
Postmark the delivery, so that the address decides.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from log_ingest.sample.provider import (
    BOUNCES,
    CLICKED,
    COMPLAINT,
    DEFERRED,
    DELIVERED,
    FULL,
    HARD,
    MACHINE,
    NO_VERDICT,
    OPENED,
    PROCESSED,
    REFUSED,
    UNREACHABLE,
    UNSUBSCRIBED,
)

Payload = dict[str, Any]

_ANSWERS = {
    DELIVERED: "250 2.0.0 OK",
    DEFERRED: "451 4.3.0 Try again later",
    HARD: "550 5.1.1 The email account that you tried to reach does not exist",
    FULL: "452 4.2.2 The email account is over quota",
    REFUSED: "550 5.7.1 Message refused by policy",
    UNREACHABLE: "421 4.4.1 Connection timed out",
}


@dataclass(frozen=True)
class Told:
    """One event to be told. attempt rises with each POST of the same event: ids of events and POSTs follow it."""

    kind: int
    moment_ms: int
    number: int
    message_id: int
    delivery_id: int
    recipient_id: int
    address: str
    url: str
    user_agent: str
    ip: str
    verdict: int
    attempt: int = 0

    @property
    def event_id(self) -> str:
        return f"{self.number * 0x9E3779B1 & 0xFFFFFFFF:08x}{self.attempt:04x}"

    @property
    def provider_message(self) -> str:
        return f"{self.message_id * 0x85EBCA6B & 0xFFFFFFFFFF:010x}"

    @property
    def iso(self) -> str:
        moment = datetime.fromtimestamp(self.moment_ms // 1000, UTC)
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{self.moment_ms % 1000:03d}Z"


def sendgrid(told: Told) -> Payload:
    names = {
        PROCESSED: "processed", DELIVERED: "delivered", DEFERRED: "deferred", COMPLAINT: "spamreport",
        OPENED: "open", CLICKED: "click", UNSUBSCRIBED: "unsubscribe",
    }  # fmt: skip
    event: Payload = {
        "email": told.address,
        "timestamp": told.moment_ms // 1000,
        "event": names.get(told.kind, "bounce"),
        "sg_event_id": told.event_id,
        "sg_message_id": f"{told.provider_message}.filter0001",
        "message_id": str(told.message_id),
    }
    if told.kind in BOUNCES:
        event |= {"type": "bounce" if told.kind == HARD else "blocked", "reason": _ANSWERS[told.kind]}
    elif told.kind in (DELIVERED, DEFERRED):
        event["response"] = _ANSWERS[told.kind]
    elif told.kind in (OPENED, CLICKED):
        event |= {"useragent": told.user_agent, "ip": told.ip}
    if told.kind == CLICKED:
        event["url"] = told.url
    if told.verdict != NO_VERDICT:
        event["sg_machine_open"] = told.verdict == MACHINE
    return event


def mailgun(told: Told) -> Payload:
    names = {
        PROCESSED: "accepted", DELIVERED: "delivered", COMPLAINT: "complained", OPENED: "opened",
        CLICKED: "clicked", UNSUBSCRIBED: "unsubscribed",
    }  # fmt: skip
    event: Payload = {
        "id": told.event_id,
        "timestamp": told.moment_ms / 1000,
        "event": names.get(told.kind, "failed"),
        "recipient": told.address,
        "user-variables": {"message_id": str(told.message_id)},
        "message": {"headers": {"to": told.address, "message-id": f"{told.provider_message}@mail.shop.example.com"}},
    }
    if told.kind in BOUNCES:
        event |= {
            "severity": "permanent",
            "reason": "bounce",
            "delivery-status": {
                "message": _ANSWERS[told.kind], "bounce-type": "hard" if told.kind == HARD else "soft",
            },
        }  # fmt: skip
    elif told.kind == DEFERRED:
        event |= {"severity": "temporary", "reason": "generic", "delivery-status": {"message": _ANSWERS[DEFERRED]}}
    elif told.kind in (OPENED, CLICKED):
        client = {"client-type": "browser", "user-agent": told.user_agent}
        if told.verdict != NO_VERDICT:
            client["bot"] = "generic" if told.verdict == MACHINE else ""
        event |= {"ip": told.ip, "client-info": client}
    if told.kind == CLICKED:
        event["url"] = told.url
    return {"signature": {"timestamp": str(told.moment_ms // 1000), "token": told.event_id}, "event-data": event}


def ses(told: Told) -> Payload:
    """In the envelope of SNS, whose message id is new with every POST."""
    names = {
        PROCESSED: "Send", DELIVERED: "Delivery", DEFERRED: "DeliveryDelay", COMPLAINT: "Complaint",
        OPENED: "Open", CLICKED: "Click", UNSUBSCRIBED: "Subscription",
    }  # fmt: skip
    name = names.get(told.kind, "Bounce")
    address = {"emailAddress": told.address}
    if told.kind in BOUNCES:
        detail: Payload = {
            "bounceType": "Permanent" if told.kind == HARD else "Transient",
            "bounceSubType": "General",
            "bouncedRecipients": [{**address, "diagnosticCode": f"smtp; {_ANSWERS[told.kind]}"}],
        }
    else:
        details: dict[int, Payload] = {
            PROCESSED: {},
            DELIVERED: {"recipients": [told.address], "smtpResponse": _ANSWERS[DELIVERED]},
            DEFERRED: {"delayType": "TransientCommunicationFailure", "delayedRecipients": [address]},
            COMPLAINT: {"complainedRecipients": [address], "complaintFeedbackType": "abuse"},
            OPENED: {"ipAddress": told.ip, "userAgent": told.user_agent},
            CLICKED: {"ipAddress": told.ip, "userAgent": told.user_agent, "link": told.url},
            UNSUBSCRIBED: {
                "oldTopicPreferences": {"unsubscribeAll": False},
                "newTopicPreferences": {"unsubscribeAll": True},
            },
        }
        detail = details[told.kind]
    key = name[0].lower() + name[1:]
    mail = {
        "timestamp": told.iso,
        "messageId": told.provider_message,
        "destination": [told.address],
        "tags": {"delivery_id": [f"0x{told.delivery_id:x}"], "recipient_id": [str(told.recipient_id)]},
    }
    message = {"eventType": name, "mail": mail, key: {"timestamp": told.iso, **detail}}
    return {
        "Type": "Notification",
        "MessageId": told.event_id,
        "TopicArn": "arn:aws:sns:eu-west-1:123456789012:mail",
        "Message": json.dumps(message),
    }


def postmark(told: Told) -> Payload:
    event: Payload = {
        "MessageID": told.provider_message,
        "ServerID": 23,
        "Metadata": {"delivery_id": str(told.delivery_id)},
    }
    types = {
        HARD: "HardBounce",
        FULL: "SoftBounce",
        REFUSED: "Blocked",
        UNREACHABLE: "SoftBounce",
        DEFERRED: "Transient",
    }
    opened = {"Recipient": told.address, "ReceivedAt": told.iso, "UserAgent": told.user_agent, "Geo": {"IP": told.ip}}
    if told.kind in types:
        return event | {
            "RecordType": "Bounce", "ID": told.event_id, "Type": types[told.kind], "Email": told.address,
            "BouncedAt": told.iso, "Description": _ANSWERS[told.kind],
        }  # fmt: skip
    if told.kind == COMPLAINT:
        return event | {
            "RecordType": "SpamComplaint", "ID": told.event_id, "Email": told.address, "BouncedAt": told.iso,
        }  # fmt: skip
    if told.kind == OPENED:
        return event | opened | {"RecordType": "Open"}
    if told.kind == CLICKED:
        return event | opened | {"RecordType": "Click", "OriginalLink": told.url}
    if told.kind == UNSUBSCRIBED:
        return event | {
            "RecordType": "SubscriptionChange", "Recipient": told.address, "ChangedAt": told.iso,
            "Origin": "Recipient", "SuppressSending": True, "SuppressionReason": "ManualSuppression",
        }  # fmt: skip
    return event | {"RecordType": "Delivery", "Recipient": told.address, "DeliveredAt": told.iso}


PAYLOADS: dict[str, Callable[[Told], Payload]] = {
    "sendgrid": sendgrid,
    "mailgun": mailgun,
    "ses": ses,
    "postmark": postmark,
}
WITHOUT_PROCESSED = ("postmark",)
"""Providers that tell of no message until it left."""
EVENTS_PER_POST = {"sendgrid": 4}
"""Events in one POST; 1 where not listed."""

NO_EVENTS = {
    "sendgrid": "[]",
    "ses": json.dumps({"Type": "SubscriptionConfirmation", "MessageId": "0", "Message": "Confirm the subscription."}),
}
"""Lines that tell of no event, and are counted apart."""
MANGLED = {
    "sendgrid": ("cut_line", '[{"email":"ann@example.org","timestamp":17126'),
    "mailgun": (
        "no_time",
        json.dumps({"event-data": {"event": "opened", "recipient": "ann@example.org", "id": "x"}}),
    ),
    "postmark": ("no_object", "[4711]"),
}
"""Lines that must be quarantined, and what is wrong, as a word of ours."""
