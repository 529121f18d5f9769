"""dbt as the pipeline starts it: its own command line, without work whose result nobody reads.

Usage: python -m orchestration.dbt_process [dbt's own arguments]
MTW_DBT_TEMPLATES: the folder in which the code of templates is kept; without it, it is for one process alone.

Belongs here: what the installed dbt (requirements.lock) does for nothing, and how it is spared that. Does not: which
command is run (orchestration.dbt). Nothing here changes what dbt builds, logs or returns; where another version of dbt
has not what is looked for here, the process fails at once, and where it would spare nothing any more, its test.

Measured over builds with little data: a third of dbt's CPU (docs/performance.md).
"""

import contextlib
import functools
import hashlib
import os
import sys
from importlib.metadata import version
from pathlib import Path
from types import CodeType
from typing import Any

import parsedatetime
from dbt.context.configured import ConfiguredContext
from dbt.context.macros import MacroNamespace
from dbt.context.manifest import ManifestContext
from dbt_common.clients.jinja import MacroFuzzEnvironment
from dbt_common.events import base_types
from dbt_common.events.base_types import BaseEvent, EventLevel
from dbt_common.events.event_manager import EventManager
from jinja2 import FileSystemBytecodeCache
from jinja2.bccache import Bucket

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
    """Each process compiles every macro and model anew, and each invocation in it: dbt's text becomes Python's code,
    which depends on nothing but that text and the installed packages. Here it is remembered, and kept in a folder for
    other processes.
    """
    make = MacroFuzzEnvironment.compile
    known: dict[tuple[type, str], CodeType] = {}
    kept = None
    if folder is not None:
        place = folder / "-".join(version(name) for name in ("jinja2", "dbt-common", "dbt-core"))
        with contextlib.suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            kept = FileSystemBytecodeCache(str(place), "%s.code")

    def of_text(environment: MacroFuzzEnvironment, text: str) -> CodeType:
        if kept is None:
            return make(environment, text)
        # Native environments make other code of the same text.
        name = f"{type(environment).__qualname__} {hashlib.sha256(text.encode()).hexdigest()}"
        # What cannot be read, for whatever reason, is made again; what cannot be kept, the next process makes again.
        bucket = None
        with contextlib.suppress(Exception):
            bucket = kept.get_bucket(environment, name, None, text)
        if bucket is not None and bucket.code is not None:
            return bucket.code
        code = make(environment, text)
        with contextlib.suppress(OSError):
            bucket = Bucket(environment, kept.get_cache_key(name), kept.get_source_checksum(text))
            bucket.code = code
            kept.set_bucket(bucket)
        return code

    def compiled(self: MacroFuzzEnvironment, source: Any, *args: Any, **values: Any) -> Any:
        if args or values or not isinstance(source, str):
            return make(self, source, *args, **values)
        key = type(self), source
        if key not in known:
            known[key] = of_text(self, source)
        return known[key]

    MacroFuzzEnvironment.compile = compiled  # type: ignore[method-assign,assignment]


def copy_macros_at_once() -> None:
    """Each model, test and macro has a context of its own, into which all macros are copied, some 750; each of them is
    looked for in five dictionaries, twice. Here the five are copied one over the other.
    """
    make = ManifestContext.to_dict

    def copied(self: ManifestContext) -> Any:
        if not isinstance(self.namespace, MacroNamespace):
            return make(self)
        found = ConfiguredContext.to_dict(self)
        for names in reversed(list(self.namespace._search_order())):
            found.update(names)
        return found

    ManifestContext.to_dict = copied  # type: ignore[method-assign]


def spare() -> None:
    """All of it."""
    kept = os.environ.get("MTW_DBT_TEMPLATES")
    make_events_when_read()
    read_dates_by_one_parser()
    # Whoever debugs macros wants their code written out.
    if not os.environ.get("DBT_MACRO_DEBUGGING"):
        compile_templates_once(Path(kept) if kept else None)
    copy_macros_at_once()


def main() -> None:
    spare()
    from dbt.cli.main import cli

    sys.exit(cli(prog_name="dbt"))


if __name__ == "__main__":
    main()
