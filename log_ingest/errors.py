"""The errors a caller of log_ingest can meet: each message is one line that says what to do.

Bad input is not among them: it is quarantined or reported in IngestReport.problems.
"""


class IngestError(Exception):
    """The installation or a setting is unusable; nothing was taken in."""


class UnreadableFileError(Exception):
    """One landing file cannot be read whole (truncated, bad checksum, over the size cap); nothing of it is taken."""


class UnreachableFileError(UnreadableFileError):
    """One object or file cannot be had now (gone, changed, refused, connection lost, a disk or mount that failed). That
    says nothing of its content and passes without the file changing: it is reported but not remembered, and the next
    run tries again."""


class StorageError(Exception):
    """A request to an object store failed. problem: why, and what to do, without the place.

    is_transient: the store was busy or out of reach; the same request may succeed in a minute.
    """

    def __init__(self, place: str, problem: str, *, is_transient: bool = False) -> None:
        super().__init__(f"{place}: {problem}")
        self.problem = problem
        self.is_transient = is_transient
