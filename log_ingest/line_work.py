"""Taking in all line sources: by one process alone, or by one of several that share a ledger.

Belongs here: which files a process takes, in which order, what it leaves to others. Does not: how one file is taken
(take_lines), processes (workers).

Beside others, a file is claimed before it is opened, by its path and by the beginning of its content: so copies of one
content meet the same process, and none is taken twice. What somebody else has claimed is looked at again later: then it
is known, or its claim is gone because the process died.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from log_ingest.catalog import LINE_SOURCES
from log_ingest.errors import UnreadableFileError
from log_ingest.files import LandingFile, LandingPlace, head_digest
from log_ingest.formats.line_format import ParseSettings
from log_ingest.formats.registry import LINE_FORMATS
from log_ingest.identify import Siblings, is_sealed
from log_ingest.landing import Landing
from log_ingest.ledger import Ledger, PathState
from log_ingest.progress import Progress
from log_ingest.report import IngestReport
from log_ingest.take_lines import BatchOvertaken, LineIntake

_LISTED = 1000
"""Paths that are looked up at once."""
_CLAIMED_FILES = 64
_CLAIMED_BYTES = 64 * 1024 * 1024
"""A process claims as many files at a time, or of so many bytes: few enough that all of them have something to do."""
_PAUSE_SECONDS = 0.2


@dataclass(frozen=True)
class LineWork:
    """What is to be done with the lines of a landing folder. sources: names of the catalogue, all where None."""

    place: LandingPlace
    landing: Landing
    ledger: Ledger
    settings: ParseSettings
    seal_after: timedelta
    sources: Collection[str] | None = None
    accepts_drift: bool = False

    def take_alone(self, report: IngestReport, progress: Progress) -> None:
        """Take in what is new, source after source."""
        for files, lines in self._sources(report, progress):
            siblings = Siblings(files)
            for file in files:
                lines.take(file, siblings)
            lines.finish()
            _end(report, progress, lines)

    def take_beside(
        self,
        report: IngestReport,
        progress: Progress,
        *,
        call_others: Callable[[int], None] | None = None,
        gives_way: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take in what nobody else takes, until there is nothing left to claim.

        call_others: this process is the run's own. It is told how many bytes of files there are to open, for others to
        help with, and comes back only when everything is taken, by whomever. gives_way: asked now and then, whether to
        stop where it stands.
        """
        shares = [_Share(*found, self.ledger, self.accepts_drift) for found in self._sources(report, progress)]
        if call_others is not None:
            for share in shares:
                share.skip_known()
            call_others(sum(share.left_bytes for share in shares))
        while not gives_way():
            is_left = False
            for share in shares:
                is_left |= share.take(gives_way)
            if not is_left or call_others is None:
                break
            time.sleep(_PAUSE_SECONDS)
        for share in shares:
            _end(report, progress, share.lines)

    def _sources(self, report: IngestReport, progress: Progress) -> Iterator[tuple[list[LandingFile], LineIntake]]:
        for source in LINE_SOURCES:
            if self.sources is not None and source.name not in self.sources:
                continue
            files, problems = self.place.discover(source.folder, source.suffixes)
            report.problems += problems.values()
            report.passing_problems[source.name] = problems
            progress.start(source.name, sum(file.fingerprint.size for file in files), len(files))
            yield (
                files,
                LineIntake(
                    source,
                    LINE_FORMATS[source.name],
                    self.landing,
                    self.ledger,
                    run_id=report.run_id,
                    settings=self.settings,
                    seal_after=self.seal_after,
                    progress=progress,
                    accepts_drift=self.accepts_drift,
                ),
            )


def is_there_work(
    place: LandingPlace,
    ledger: Ledger,
    seal_after: timedelta,
    sources: Collection[str] | None = None,
    *,
    accepts_drift: bool = False,
) -> bool:
    """Whether any file may have to be opened: a cheap look, before the landed rows are."""
    for source in LINE_SOURCES:
        if sources is not None and source.name not in sources:
            continue
        files, _ = place.discover(source.folder, source.suffixes)
        siblings = Siblings(files)
        for some in _chunks(files, _LISTED):
            for file, state, may_be_held in _with_states(some, source.name, ledger):
                is_open = state is None or (state.role == "problem" and accepts_drift)
                if is_open or (may_be_held and is_sealed(file, siblings, state, seal_after)):
                    return True
    return False


def _with_states(
    files: Sequence[LandingFile], source: str, ledger: Ledger
) -> Iterator[tuple[LandingFile, PathState | None, bool]]:
    """Each file with what is known of it as it is now, and whether it holds bytes behind its last line end."""
    known = ledger.path_states(source, [file.name for file in files])
    held = ledger.held_files(source)
    for file in files:
        state = known.get(file.name)
        if state is not None and state.fingerprint != file.fingerprint:
            state = None
        yield file, state, state is not None and state.role != "problem" and state.file_id in held


class _Share:
    """The files of one source, of which this process takes a share."""

    def __init__(self, files: Sequence[LandingFile], lines: LineIntake, ledger: Ledger, accepts_drift: bool) -> None:
        self.lines = lines
        self._source, self._ledger, self._accepts_drift = lines.source.name, ledger, accepts_drift
        self._siblings = Siblings(files)
        self._left = list(files)
        # Of files whose taking is not committed yet: what was claimed for each.
        self._taken: list[tuple[LandingFile, set[str]]] = []
        self._pending: dict[str, set[str]] = {}

    @property
    def left_bytes(self) -> int:
        return sum(file.fingerprint.size for file in self._left)

    def skip_known(self) -> None:
        """Account for the files that need not be opened."""
        left = []
        for files in _chunks(self._left, _LISTED):
            for file, state, is_settled in self._states(files):
                if is_settled and state is not None:
                    self.lines.skip(file, state)
                else:
                    left.append(file)
        self._left = left

    def take(self, gives_way: Callable[[], bool]) -> bool:
        """Take what can be claimed, and commit it. Returns whether somebody else is at work on files of this source."""
        busy: list[LandingFile] = []
        for files in _chunks(self._left, _LISTED):
            for some in _portions([file for file, _, is_settled in self._states(files) if not is_settled]):
                if gives_way():
                    break
                self._pending = self._claim(some)
                busy += [file for file in some if file.name not in self._pending]
                for file in some:
                    if file.name in self._pending:
                        self._take(file)
        self._finish()
        self._left = busy
        return bool(busy)

    def _states(self, files: Sequence[LandingFile]) -> Iterator[tuple[LandingFile, PathState | None, bool]]:
        """Each file with what is known of it, and whether it need not be opened."""
        for file, state, is_held in _with_states(files, self._source, self._ledger):
            if state is None or (state.role == "problem" and self._accepts_drift):
                yield file, state, False
            else:
                yield file, state, not (is_held and self.lines.can_seal(file, state, self._siblings))

    def _claim(self, files: Sequence[LandingFile]) -> dict[str, set[str]]:
        """By name, those that are this process's to take, with what was claimed for each."""
        wanted = {file.name: {f"path {file.name}", *_beginning(file)} for file in files}
        got = self._ledger.claim(self._source, set().union(*wanted.values()))
        claimed = {name: claims for name, claims in wanted.items() if claims <= got}
        # Of a file that is somebody else's nothing is kept, but for what other files here need.
        self._give_back(got - set().union(*claimed.values(), *(claims for _, claims in self._taken)))
        return claimed

    def _take(self, file: LandingFile) -> None:
        claims = self._pending.pop(file.name)
        try:
            self._take_one(file, claims)
        except BatchOvertaken:
            self._taken.append((file, claims))
            self._take_again()

    def _take_one(self, file: LandingFile, claims: set[str]) -> None:
        before = self.lines.commit_count
        self.lines.take(file, self._siblings)
        if self.lines.commit_count > before:
            self._forget_taken(claims)
        self._taken.append((file, claims))

    def _take_again(self) -> None:
        """Others have taken more of what the batch at hand goes on with: make it anew from what is known now."""
        taken, self._taken = self._taken, []
        self.lines.discard()
        try:
            for file, claims in taken:
                self._take_one(file, claims)
        except BatchOvertaken:
            self._taken = taken
            self._take_again()

    def _finish(self) -> None:
        try:
            self.lines.finish()
        except BatchOvertaken:
            self._take_again()
            self._finish()
        self._forget_taken(set())

    def _forget_taken(self, still_needed: set[str]) -> None:
        """What was taken before the last commit is known to all: nobody takes it again."""
        done = set().union(*(claims for _, claims in self._taken))
        self._taken = []
        self._give_back(done.difference(still_needed, *self._pending.values()))

    def _give_back(self, claims: set[str]) -> None:
        if claims:
            self._ledger.give_back(self._source, claims)


def _beginning(file: LandingFile) -> set[str]:
    try:
        return {f"head {head_digest(file)}"}
    except UnreadableFileError:
        return set()  # it is no copy of anything; taking it says what is wrong


def _chunks(files: Sequence[LandingFile], count: int) -> Iterator[Sequence[LandingFile]]:
    for start in range(0, len(files), count):
        yield files[start : start + count]


def _portions(files: Sequence[LandingFile]) -> Iterator[list[LandingFile]]:
    some: list[LandingFile] = []
    size = 0
    for file in files:
        some.append(file)
        size += file.fingerprint.size
        if len(some) >= _CLAIMED_FILES or size >= _CLAIMED_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def _end(report: IngestReport, progress: Progress, lines: LineIntake) -> None:
    name = lines.source.name
    report.totals[name] = lines.totals
    report.batch_ids += lines.batch_ids
    report.problems += lines.problems
    report.passing_problems[name] |= lines.passing_problems
    progress.finish(name)
