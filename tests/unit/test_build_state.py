"""How much a build has before it."""

from pathlib import Path

from orchestration.build_state import UNFINISHED, Build, Plan, build_digest, plan, record_build, rows_anew
from orchestration.settings import Settings

BATCHES = [{"batch_id": at, "accepted_count": 10**at} for at in range(4)]


def test_a_build_that_goes_on_looks_at_later_batches_alone(tmp_path: Path) -> None:
    settings = Settings(landing_dir=tmp_path / "landing", warehouse_dir=tmp_path / "warehouse")

    def anew() -> int:
        found: Plan = plan(settings, 3)
        return rows_anew(settings, found, BATCHES)

    assert anew() == 1110, "nothing was built, and the batch before all others is empty"
    settings.working_database.parent.mkdir(parents=True)
    settings.working_database.touch()
    digest = build_digest(settings)
    record_build(settings, Build(digest, "", 2, "run"))
    assert anew() == 1000
    record_build(settings, Build(digest, "", UNFINISHED, "run"))
    assert anew() == 1110, "where it stopped is not known"
    record_build(settings, Build("others", "", 2, "run"))
    assert anew() == 1110, "other models look at all rows"
