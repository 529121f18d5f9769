"""dbt as the pipeline starts it: its own command line, without work whose result nobody reads.

Usage: python -m orchestration.dbt_process [dbt's own arguments]
MTW_DBT_TEMPLATES: the folder in which the code of templates is kept; without it, it is for one process alone.

Belongs here: what the installed dbt (requirements.lock) does for nothing, and how it is spared that. Does not: which
command is run (orchestration.dbt). Nothing here changes what dbt builds, logs or returns; where another version of dbt
has not what is looked for here, the process fails at once, and where it would spare nothing any more, its test.

Measured over builds with little data: two fifths of dbt's CPU (docs/performance.md).
"""

import contextlib
import functools
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import parsedatetime
from dbt.context.macros import MacroNamespace
from dbt_common.events import base_types
from dbt_common.events.base_types import BaseEvent, EventLevel
from dbt_common.events.event_manager import EventManager
from jinja2 import Environment, FileSystemBytecodeCache

_LEAST = (EventLevel.DEBUG, EventLevel.TEST)


def make_events_when_read() -> None:
    """Each statement has three events of the level debug. dbt makes a Protobuf message of each, then two lines of
    JSON, and only then asks whether anybody writes that level. Here the message is made when somebody reads it, and
    where no log is of that level nothing is made of it.
    """
    make = BaseEvent.__init__

    def remember(self: BaseEvent, *args: Any, **values: Any) -> None:
        if type(self).level_tag is base_types.DebugLevel.level_tag:
            object.__setattr__(self, "_not_made_yet", (args, values))
        else:
            make(self, *args, **values)

    read, change = BaseEvent.__getattr__, BaseEvent.__setattr__

    def is_made_now(self: BaseEvent) -> bool:
        late = vars(self).pop("_not_made_yet", None)
        if late is not None:
            make(self, *late[0], **late[1])
        return late is not None

    def get(self: BaseEvent, name: str) -> Any:
        # Python asks here for what is not there: the message, and its fields.
        return getattr(self, name) if is_made_now(self) else read(self, name)

    def set_field(self: BaseEvent, name: str, value: Any) -> None:
        is_made_now(self)
        change(self, name, value)

    write = EventManager.fire_event

    def fire(self: EventManager, e: BaseEvent, level: EventLevel | None = None, *args: Any, **others: Any) -> None:
        if (level or e.level_tag()) not in _LEAST or any(logger.level in _LEAST for logger in self.loggers):
            write(self, e, level, *args, **others)

    BaseEvent.__init__, BaseEvent.__getattr__, BaseEvent.__setattr__ = remember, get, set_field  # type: ignore[method-assign]
    EventManager.fire_event = fire  # type: ignore[method-assign]


def read_dates_by_one_parser() -> None:
    """Each result of a statement gets types for dates and times, and each of those builds all words and patterns of
    the language anew. They say the same, and nobody changes them.
    """
    parsedatetime.Constants = functools.lru_cache(parsedatetime.Constants)


def compile_templates_once(folder: Path | None) -> None:
    """Each process compiles every macro and model anew, and each invocation in it: Jinja's text becomes Python's code,
    which depends on nothing but that text. Here it is remembered, and kept in a folder for other processes.
    """
    make = Environment.compile
    known: dict[tuple[type, str], CodeType] = {}
    kept = None
    if folder is not None:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            kept = FileSystemBytecodeCache(str(folder), "%s.code")

    def of_text(environment: Environment, text: str) -> CodeType:
        if kept is None:
            return make(environment, text)
        # Native environments make other code of the same text.
        name = f"{type(environment).__qualname__} {hashlib.sha256(text.encode()).hexdigest()}"
        bucket = kept.get_bucket(environment, name, None, text)
        if bucket.code is None:
            bucket.code = make(environment, text)
            # Where it cannot be kept, the next process makes it again.
            with contextlib.suppress(OSError):
                kept.set_bucket(bucket)
        return bucket.code

    def compiled(self: Environment, source: Any, *args: Any, **values: Any) -> Any:
        if args or values or not isinstance(source, str):
            return make(self, source, *args, **values)
        key = type(self), source
        if key not in known:
            known[key] = of_text(self, source)
        return known[key]

    Environment.compile = compiled  # type: ignore[method-assign]


def look_macros_up_at_once() -> None:
    """Each model, test and macro has a context of its own, into which all macros are copied, some 750; each of them is
    looked for in five dictionaries, twice. Here one dictionary is made of the five first.
    """
    make = MacroNamespace.__init__

    def merged(self: MacroNamespace, *args: Any, **values: Any) -> None:
        make(self, *args, **values)
        self._merged = {}  # type: ignore[attr-defined]
        for each in reversed(list(self._search_order())):
            self._merged.update(each)  # type: ignore[attr-defined]

    def names(self: MacroNamespace) -> Iterator[str]:
        return iter(self._merged)  # type: ignore[attr-defined]

    def get(self: MacroNamespace, name: str) -> Any:
        return self._merged[name]  # type: ignore[attr-defined]

    MacroNamespace.__init__, MacroNamespace.__iter__, MacroNamespace.__getitem__ = merged, names, get  # type: ignore[method-assign]


def spare() -> None:
    """All of it."""
    kept = os.environ.get("MTW_DBT_TEMPLATES")
    make_events_when_read()
    read_dates_by_one_parser()
    compile_templates_once(Path(kept) if kept else None)
    look_macros_up_at_once()


def main() -> None:
    spare()
    from dbt.cli.main import cli

    sys.exit(cli(prog_name="dbt"))


if __name__ == "__main__":
    main()
