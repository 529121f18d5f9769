"""The errors a caller of log_ingest can meet: each message is one line that says what to do.

Bad input is not among them: it is quarantined or reported in IngestReport.problems.
"""


class IngestError(Exception):
    """The installation or a setting is unusable; nothing was taken in."""


class UnreadableFileError(Exception):
    """One landing file cannot be read whole (truncated, bad checksum, over the size cap); nothing of it is taken."""
