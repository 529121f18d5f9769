"""What stands for a person in rows that outlive their events ("frozen" rows of purged deliveries).

Belongs here: the column and the digest. Does not: making such rows (retention), or erasing persons (erasure).
"""

PERSON = "person_key"
"""The column of published aggregates that tells persons apart: in frozen rows, by a digest."""


PREFIX = "purged-"
"""How a digest begins."""


def person_digest(key: str, salt: str) -> str:
    """SQL of the digest of a key, itself where it is one or empty. As dbt's macro person_key."""
    return f"case when {key} like '{PREFIX}%' or {key} = '' then {key} else '{PREFIX}' || md5({salt} || {key}) end"
