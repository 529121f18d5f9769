"""Who may read what the pipeline writes: its user and group, and of the published version whoever a setting names.

Belongs here: the umask of processes that write, the modes of a published version. Does not: keys, which their owner
alone reads (log_ingest.suppression), or looking at what is there (doctor).
"""

import os
import stat
from pathlib import Path

IDENTITIES = "identities.duckdb"
"""The file of a published version that nobody but its owner reads, whoever reads the rest."""

UMASK = 0o027
"""Folders are 0750 and files 0640, or stricter where the user's own umask is."""

PUBLISHED_MODE = 0o440
"""Files of a published version: nobody changes them, user and group read them."""


def restrict() -> None:
    """Let this process, and those that it starts, write nothing that others may read."""
    os.umask(_umask() | UMASK)


def _umask() -> int:
    found = os.umask(UMASK)
    os.umask(found)
    return found


def set_published_modes(version: Path, mode: int | None, *, group_reads_identities: bool = False) -> None:
    """Give the files of a version their mode, and its folders, up to the warehouse's, what readers need to reach them.

    mode: as MTW_PUBLISHED_MODE says; None: PUBLISHED_MODE, or stricter where the umask is. Where others may read, they
    may pass through the warehouse's folder, without listing it. The version lies in published/versions.
    """
    file_mode = PUBLISHED_MODE & ~_umask() if mode is None else mode
    folder_mode = stat.S_IRWXU | (file_mode & 0o044) | (file_mode & 0o044) >> 2
    for path in (version, *version.rglob("*")):
        own = 0o440 if group_reads_identities else 0o400
        path.chmod(folder_mode if path.is_dir() else file_mode & own if path.name == IDENTITIES else file_mode)
    if mode is None:
        return
    versions = version.parent
    for folder in (versions, versions.parent):
        folder.chmod(folder_mode)
    warehouse = versions.parent.parent
    passing = (file_mode & 0o044) >> 2
    if warehouse.stat().st_mode & passing != passing:
        warehouse.chmod(stat.S_IMODE(warehouse.stat().st_mode) | passing)
