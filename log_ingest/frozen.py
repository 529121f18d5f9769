"""What is purged, and what stands for persons and messages in rows that outlive them ("frozen" rows of purged
deliveries).

Belongs here: the kinds of purges, the column and the digests. Does not: making such rows (retention), or erasing
persons (erasure).
"""

TRACKING, DELIVERY_LOGS, STATISTICS, SET_ASIDE = "tracking", "delivery_logs", "statistics", "set_aside"
"""Kinds of purges: tracking events; messages and what became of them; frozen rows; lines set aside."""

PERSON = "person_key"
"""The column of published aggregates that tells persons apart: in frozen rows, by a digest."""


PREFIX = "purged-"
"""How a digest begins."""


def person_digest(key: str, salt: str) -> str:
    """SQL of the digest of a key, itself where it is one or empty. As dbt's macro person_key."""
    return f"case when {key} like '{PREFIX}%' or {key} = '' then {key} else '{PREFIX}' || md5({salt} || {key}) end"


def message_digest(message_id: str, salt: str) -> str:
    """SQL of what a purged message is recognised by when a line names it."""
    return f"md5({salt} || 'message ' || {message_id})"
