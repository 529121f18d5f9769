"""One alert: what failed, since when, which numbers are stale, what to do.

Belongs here: the kinds of alerts, and an alert as a text (chat, mail) and as JSON. Does not: sending, or deciding to.

What failed may quote anything, a label or an error message among it. In the text it stands between backticks, in one
line, without backticks and angle brackets of its own: chats then show it as it is, make no link or mention of it.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from orchestration.publication import Publication
from orchestration.settings import Settings, without_secrets
from orchestration.text import plain

KINDS: dict[str, tuple[str, str]] = {
    "run-failed": ("A run failed", "Read the line, mend what it names, then: mtw run"),
    "check-failed": ("A check failed, nothing was published", "Look at the failing rows before anything is published"),
    "disk-full": ("A run failed for want of space", "Free space in the warehouse folder, then: mtw run"),
    "run-died": ("The process of a run died", "Look for an out-of-memory kill or a restart; the next run goes on"),
    "copy-failed": ("The PostgreSQL copy was not made", "Check the server; the next run catches up"),
    "verify-differs": ("Published marts differ from what the landed bytes give", "Rebuild the working database"),
    "data-stale": ("The published numbers are old", "Find out whether logs arrive and whether runs start"),
    "volume-anomaly": ("A volume is far from usual", "Ask what changed at the sender or the server"),
    "server-silent": ("A server has fallen silent", "Look at that server and at how its logs are handed over"),
    "opt-out-surge": ("Far more opt-outs than usual", "Look at the opt-out link and at who clicks it"),
    "lines-quarantined": ("Too many lines are quarantined", "mtw quarantine list, then mend and replay"),
    "lines-missing": ("Lines of a server never arrived", "Fetch the missing files: mtw status names the gaps"),
    "platform-unread": ("The platform's database was not read", "Check MTW_REFERENCE_URL; the next run catches up"),
    "check-warned": ("A check warns", "Look at the check in the Dagster UI"),
}
"""By kind: a title, and what to do in one sentence. docs/runbook/<kind>.md says the rest."""

TEST = "test"
_SAYINGS = KINDS | {TEST: ("A test", "Nothing: alerts arrive here")}

_MAIL_ADDRESS = re.compile(r"[^\s@\"'<>()\[\],;:/*]+@[\w.-]*\w")
_LIMIT = 600


def harmless(text: str) -> str:
    """Other people's text for a place that may render markup: one line, no markup, link, secret or mail address."""
    shown = _MAIL_ADDRESS.sub("(an address)", without_secrets(text)).replace("://", ": //")
    return plain(shown.translate({ord("<"): "‹", ord(">"): "›", ord("`"): "'"}), _LIMIT)


@dataclass(frozen=True)
class Alert:
    """key: what this is about; an alert and the word that it is over have the same. since: UTC, without zone.

    what: other people's text. stale: which numbers are concerned, our own words. facts: for the JSON alone.
    """

    key: str
    kind: str
    what: str
    since: datetime
    stale: str
    runbook: str
    warehouse: str
    facts: dict[str, Any] = field(default_factory=dict)
    is_over: bool = False

    @property
    def subject(self) -> str:
        """One line."""
        return f"{'Over: ' if self.is_over else ''}{_SAYINGS[self.kind][0]}"

    def text(self) -> str:
        """A few lines that read the same in a mail and in a chat."""
        lines = [
            self.subject,
            f"what: `{harmless(self.what)}`",
            f"since: {self.since:%Y-%m-%d %H:%M} UTC",
            f"numbers: {self.stale}",
        ]
        if not self.is_over:
            lines.append(f"what to do: {_SAYINGS[self.kind][1]}. {self.runbook}")
        lines.append(f"warehouse: {self.warehouse}")
        return "\n".join(lines)

    def json(self) -> dict[str, Any]:
        """`text` is what chats show; the rest is for programs."""
        return {
            "text": self.text(),
            "alert": self.kind,
            "state": "over" if self.is_over else "open",
            "subject": self.subject,
            "key": self.key,
            "what": harmless(self.what),
            "since": f"{self.since:%Y-%m-%dT%H:%M:%SZ}",
            "numbers": self.stale,
            "what_to_do": _SAYINGS[self.kind][1],
            "runbook": self.runbook,
            "warehouse": self.warehouse,
            **self.facts,
        }


def runbook_page(settings: Settings, kind: str) -> str:
    """Where the page of a kind can be read."""
    page = "operations.md" if kind == TEST else f"runbook/{kind}.md"
    return f"{settings.docs_url}/{page}" if settings.docs_url else f"docs/{page}"


def stale_numbers(kind: str | None, publication: Publication | None, now: datetime) -> tuple[str, dict[str, Any]]:
    """Which published numbers an alert of this kind is about, and how old they are: for people, and as facts.

    kind: None where it is over.
    """
    if publication is None:
        return "nothing is published yet", {"published": None}
    through = publication.data_through_at
    age = f"{age_of(now - through)} old" if through else "no event yet"
    reach = f"data through {through:%Y-%m-%d %H:%M} UTC, {age}" if through else age
    marts = sorted(name for name in publication.tables if not name.startswith("meta."))
    facts = {
        "published": {
            "version": publication.version,
            "published_at": f"{publication.published_at:%Y-%m-%dT%H:%M:%SZ}",
            "data_through_at": f"{through:%Y-%m-%dT%H:%M:%SZ}" if through else None,
            "age_seconds": round((now - through).total_seconds()) if through else None,
            "marts": marts,
        }
    }
    whole = f"version {publication.label} ({reach}; published {age_of(now - publication.published_at)} ago)"
    if kind in (None, TEST):
        return whole, facts
    if kind == "copy-failed":
        return f"PostgreSQL shows an older version; the file holds {whole}", facts
    if kind == "verify-differs":
        return f"the marts named above, in {whole}", facts
    if kind in _INCOMPLETE:
        return f"published all the same, and to be read with this in mind: {whole}", facts
    return f"all {len(marts)} marts and reports stay at {whole}", facts


_INCOMPLETE = {
    *("volume-anomaly", "server-silent", "opt-out-surge", "lines-quarantined", "lines-missing", "platform-unread"),
    "check-warned",
}


def age_of(span: Any) -> str:
    """A length of time for people: "14 hours"."""
    seconds = max(int(span.total_seconds()), 0)
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= size * (2 if unit == "day" else 1):
            count = seconds // size
            return f"{count} {unit}{'s' * (count != 1)}"
    return f"{seconds} second{'s' * (seconds != 1)}"


def utc_now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
