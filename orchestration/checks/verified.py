"""The check that the published marts are what the landed bytes give: `mtw verify` as an asset check.

Belongs here: running it in Dagster and showing what it found. Does not: rebuilding, comparing (orchestration.verify).
"""

import dagster as dg

from orchestration.assets import published
from orchestration.checks.verdicts import Verdict, check_result
from orchestration.dbt import DbtError
from orchestration.lock import PipelineLocked
from orchestration.publication import PublishError
from orchestration.settings import Settings
from orchestration.transient import retry_or_fail
from orchestration.verify import Verification, VerifyError, verify

NAME = "equals_a_rebuild"
VERIFIED = dg.AssetCheckKey(published.KEY, NAME)
POOL = "verification"
"""Not the warehouse's: runs go on beside a verification."""


def build_verified_check(settings: Settings) -> dg.AssetChecksDefinition:
    """The check; no part of the pipeline, because it costs a full build."""

    @dg.asset_check(
        asset=published.KEY,
        name=NAME,
        pool=POOL,
        description="Every published mart equals what a build of its own from the landed bytes gives, row by row.",
    )
    def equals_a_rebuild(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        try:
            found = verify(settings, stage=lambda name: context.log.info("verify: %s", name))
        except (VerifyError, PipelineLocked, DbtError, PublishError) as error:
            raise retry_or_fail(context, settings, error, str(error)) from None
        return verification_result(found)

    return equals_a_rebuild


def verification_result(found: Verification) -> dg.AssetCheckResult:
    """What a verification found, as a check: one rule for each mart."""
    verdicts = [
        Verdict(
            f"{result.name} equals its rebuild",
            result.is_equal,
            offending=result.only_published + result.only_rebuilt,
            sample=[{"only": key} for key in result.keys],
            problem=result.problem,
        )
        for result in found.results
    ]
    facts = {"version": f"{found.version:06d}", "batch_id": found.batch_id, "seconds": round(found.seconds, 1)}
    return check_result(verdicts, asset_key=published.KEY, check_name=NAME, facts=facts)
