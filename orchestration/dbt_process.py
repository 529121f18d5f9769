"""dbt as the pipeline starts it: its own command line, without work whose result nobody reads.

Usage: python -m orchestration.dbt_process [dbt's own arguments]

Belongs here: what the installed dbt (requirements.lock) does for nothing, and how it is spared that. Does not: which
command is run (orchestration.dbt). Nothing here changes what dbt builds, logs or returns; where another version of dbt
has not what is looked for here, the process fails at once, and where it would spare nothing any more, its test.

Measured over builds with little data: a quarter of dbt's CPU (docs/performance.md).
"""

import functools
import sys
from typing import Any

import parsedatetime
from dbt_common.events import base_types
from dbt_common.events.base_types import BaseEvent, EventLevel
from dbt_common.events.event_manager import EventManager

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


def main() -> None:
    make_events_when_read()
    read_dates_by_one_parser()
    from dbt.cli.main import cli

    sys.exit(cli(prog_name="dbt"))


if __name__ == "__main__":
    main()
