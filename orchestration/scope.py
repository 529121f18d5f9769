"""What one run is to do beside the usual: deliveries to be made again, and whether everything is checked.

Belongs here: these wishes as the run's configuration (the launchpad of the Dagster UI, `mtw run`), read and refused.
Does not: carrying them out (remake, checks, assets).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg

from orchestration.ids import unsigned

RESOURCE = "run_scope"

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_LARGEST_ID = 2**63 - 1

_SCHEMA = {
    "deliveries": dg.Field(
        [int],
        default_value=[],
        description="Ids of deliveries whose facts and marts are made again from the landed rows.",
    ),
    "from_day": dg.Field(
        str,
        default_value="",
        description="First day (2026-11-30, reporting zone): all that was sent or active on these days is made again.",
    ),
    "to_day": dg.Field(str, default_value="", description="Last day; the first one where empty."),
    "full_checks": dg.Field(
        bool,
        default_value=False,
        description="Check all landed rows and files, not what is new, and test all models even where nothing is new.",
    ),
}


class ScopeError(Exception):
    """What was asked of a run makes no sense. The message is one line that says what to write."""


@dataclass(frozen=True)
class RunScope:
    """deliveries: ids, unsigned. days: first and last, in the reporting zone. Both empty: what is new, as ever."""

    deliveries: tuple[int, ...] = ()
    days: tuple[date, date] | None = None
    full_checks: bool = False

    @classmethod
    def of(
        cls, deliveries: Sequence[int] = (), from_day: str = "", to_day: str = "", *, full_checks: bool = False
    ) -> "RunScope":
        """Raises ScopeError. A negative 32-bit id stands for its unsigned value, as everywhere."""
        ids = sorted({unsigned(number) for number in deliveries})
        if any(not 0 < number <= _LARGEST_ID for number in ids):
            raise ScopeError("a delivery's id is a number above 0; mtw explain and the report pages show ids")
        if to_day and not from_day:
            raise ScopeError("a last day needs a first one: --from DAY --to DAY, or from_day and to_day")
        days = (_day(from_day), _day(to_day or from_day)) if from_day else None
        if days and days[0] > days[1]:
            raise ScopeError(f"{from_day} comes after {to_day}; write the earlier day first")
        return cls(tuple(ids), days, full_checks)

    @property
    def asks_for_deliveries(self) -> bool:
        return bool(self.deliveries or self.days)

    def run_config(self) -> dict[str, Any]:
        """This as the configuration of a Dagster run."""
        first, last = (day.isoformat() for day in self.days) if self.days else ("", "")
        config = {
            "deliveries": list(self.deliveries),
            "from_day": first,
            "to_day": last,
            "full_checks": self.full_checks,
        }
        return {"resources": {RESOURCE: {"config": config}}}


def scope_resource() -> dg.ResourceDefinition:
    """The scope of the run that is under way, from its configuration."""

    @dg.resource(config_schema=_SCHEMA, description="What this run does beside taking in and building what is new.")
    def run_scope(context: dg.InitResourceContext) -> RunScope:
        config: Mapping[str, Any] = context.resource_config
        try:
            return RunScope.of(
                config["deliveries"], config["from_day"], config["to_day"], full_checks=config["full_checks"]
            )
        except ScopeError as error:
            raise dg.Failure(str(error), allow_retries=False) from error

    return run_scope


def _day(text: str) -> date:
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise ScopeError(f"{text!r} is no day; write it like 2026-11-30")
