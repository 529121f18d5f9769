"""`mtw verify`: the marts are built again from the landed bytes, beside the live warehouse, and compared both ways.

Belongs here: the snapshot of what is compared, going on after an interruption, the comparison. Does not: building
(beside), what a mart holds, drawing (cli).

    warehouse/verify/              gone after a verification that came to its end
      state.json                   of which version; which marts have been compared, with what result
      published.duckdb             the published file, so that later publications cannot take it away
      identities.duckdb            the clear values beside it, where it is masked
      landed/                      links to the landed sources, and the lists of batches and files as they are now
      dbt_project/, warehouse/     the rebuild

Runs go on meanwhile: batches that land later are behind the ceiling that the copied list of batches sets. Only where
landed rows are in a bucket, which holds no links, the pipeline's lock is held to the end.
"""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb

from log_ingest.audit import damaged_parts
from log_ingest.landed_places import landed_place, unknown_files
from log_ingest.ledger import Ledger
from log_ingest.sqltext import identifier, literal
from log_ingest.storage import let_read
from log_ingest.suppression import Key
from orchestration import beside, identifiers
from orchestration.bounded import bound
from orchestration.build_state import build_digest
from orchestration.identifiers import Masks
from orchestration.lock import PipelineLock
from orchestration.privacy import VERIFY_FOLDER, VERIFY_LOCK
from orchestration.publication import Publication, current, relations
from orchestration.settings import Settings

SHOWN_KEYS = 5
"""Keys of differing rows that a result names, from each side."""

_WITHOUT_KEY_COLUMNS = 4

IDENTITIES = "identities"
"""The name of the identities file among what is compared."""


class VerifyError(Exception):
    """There is nothing that could be verified, or the rebuild failed. The message is one line that says what to do."""


@dataclass(frozen=True)
class MartResult:
    """One mart. only_published, only_rebuilt: rows that the other side has not. keys: of some of them, as text.

    problem: why it could not be compared; empty where it was.
    """

    name: str
    rows_published: int = 0
    rows_rebuilt: int = 0
    only_published: int = 0
    only_rebuilt: int = 0
    keys: tuple[str, ...] = ()
    problem: str = ""
    seconds: float = 0.0

    @property
    def is_equal(self) -> bool:
        return not (self.problem or self.only_published or self.only_rebuilt)


@dataclass
class Verification:
    """All marts of one version. went_on: it began where an interrupted one had stopped."""

    version: int
    batch_id: int
    results: list[MartResult] = field(default_factory=list)
    went_on: bool = False
    seconds: float = 0.0

    @property
    def differing(self) -> list[MartResult]:
        return [result for result in self.results if not result.is_equal]


def verify(
    settings: Settings,
    *,
    stage: Callable[[str], None] = lambda name: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Verification:
    """Verify the published version. stage, progress: told what begins, and how many marts have been compared.

    Raises VerifyError, PipelineLocked (a run or another verification is under way), DbtError, PublishError.
    """
    started = time.monotonic()
    folder = settings.warehouse_dir / VERIFY_FOLDER
    with PipelineLock(settings.warehouse_dir / VERIFY_LOCK), contextlib.ExitStack() as held:
        with PipelineLock.of(settings):
            publication, went_on = _snapshot(settings, folder, stage)
        if not isinstance(settings.landed_dir, Path):
            held.enter_context(PipelineLock.of(settings))
        state = _State.load(folder / "state.json")
        rebuilt = _settings(settings, folder)
        if not state.is_built:
            stage("rebuild")
            beside.build(rebuilt)
            state.is_built = True
            state.save(folder / "state.json")
        stage("compare")
        found = Verification(publication.version, publication.batch_id, went_on=went_on)
        with _compared(settings, folder / "published.duckdb", rebuilt.working_database) as connection:
            masks = _masks(settings, connection, rebuilt.working_database)
            names = _names(connection, masks)
            for done, name in enumerate(names):
                progress(done, len(names))
                if ".".join(name) not in state.results:
                    state.results[".".join(name)] = _compare(connection, masks, *name)
                    state.save(folder / "state.json")
                found.results.append(state.results[".".join(name)])
            progress(len(names), len(names))
    shutil.rmtree(folder, ignore_errors=True)
    found.seconds = time.monotonic() - started
    return found


@dataclass
class _State:
    run_id: str
    build_digest: str
    is_built: bool = False
    results: dict[str, MartResult] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> "_State":
        facts = json.loads(path.read_text(encoding="utf-8"))
        results = {
            name: MartResult(**{**result, "keys": tuple(result["keys"])}) for name, result in facts["results"].items()
        }
        return cls(**{**facts, "results": results})

    def save(self, path: Path) -> None:
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(self)), encoding="utf-8")
        temporary.replace(path)


def _snapshot(settings: Settings, folder: Path, stage: Callable[[str], None]) -> tuple[Publication, bool]:
    """Make the folder with what is compared, or find that of an interrupted verification of the same version."""
    publication = current(settings.published_dir)
    if publication is None:
        raise VerifyError("nothing is published yet; run: mtw run")
    digest = build_digest(settings)
    if publication.build_digest != digest:
        raise VerifyError("the published version was built by other models or settings; publish anew first: mtw run")
    try:
        state = _State.load(folder / "state.json")
        if (state.run_id, state.build_digest) == (publication.run_id, digest):
            return publication, True
    except (OSError, ValueError, TypeError, KeyError):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    with Ledger(settings.ledger, read_only=True) as ledger:
        if ledger.last_batch_id() != publication.batch_id:
            raise VerifyError(
                f"batch {ledger.last_batch_id()} has landed, version {publication.label} ends with batch"
                f" {publication.batch_id}; publish it first: mtw run"
            )
        stage("check landed files")
        damaged = damaged_parts(settings.landed_dir, ledger)
        unknown = unknown_files(landed_place(settings.landed_dir, settings.warehouse_dir), ledger)
    if damaged:
        more = f" (and {len(damaged) - 1} more)" if len(damaged) > 1 else ""
        raise VerifyError(f"landed file {damaged[0][0]}: {damaged[0][1]}{more}; bring it back from a backup")
    if unknown:
        # To remove something is not for a verification.
        raise VerifyError(
            f"landed file {unknown[0]} is not known, as a purge that died leaves one; remove it by: mtw run"
        )
    folder.mkdir(parents=True)
    published = settings.published_database.resolve()
    for path in filter(None, (published, identifiers.beside(published))):
        target = folder / ("published.duckdb" if path == published else path.name)
        try:
            os.link(path, target)
        except OSError:  # another file system, or one without hard links
            shutil.copy2(path, target)
    if isinstance(settings.landed_dir, Path):
        landed = folder / "landed"
        landed.mkdir()
        for path in settings.landed_dir.iterdir():
            if path.is_dir():
                (landed / path.name).symlink_to(path.resolve(), target_is_directory=True)
            else:
                shutil.copy2(path, landed / path.name)
    beside.settings_beside(settings, folder)
    _State(publication.run_id, digest).save(folder / "state.json")
    return publication, False


def _settings(settings: Settings, folder: Path) -> Settings:
    """The settings of the rebuild."""
    landed = folder / "landed" if isinstance(settings.landed_dir, Path) else settings.landed_dir
    return replace(
        settings,
        engine="duckdb",
        warehouse_dir=folder / "warehouse",
        landed_override=landed,
        dbt_project_dir=folder / "dbt_project",
    )


@contextlib.contextmanager
def _compared(settings: Settings, published: Path, rebuilt: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Both databases, attached read-only: `published`, and the rebuild under the name that its views know it by."""
    spill = published.parent / "spill"
    with contextlib.closing(duckdb.connect()) as connection:
        let_read(connection, settings.landed_dir)
        bound(connection, settings.memory_limit, spill)
        connection.execute(f"attach {literal(str(published))} as published (read_only)")
        connection.execute(f"attach {literal(str(rebuilt))} as {identifier(rebuilt.stem)} (read_only)")
        if identities := identifiers.beside(published):
            connection.execute(f"attach {literal(str(identities))} as {IDENTITIES} (read_only)")
        connection.execute(f"use {identifier(rebuilt.stem)}")
        yield connection


def _masks(settings: Settings, connection: duckdb.DuckDBPyConnection, rebuilt: Path) -> Masks:
    """What the rebuild has to be masked by to be compared."""
    columns = identifiers.of_published(connection, "published")
    key = Key.load(settings.warehouse_dir, identifiers.KEY_NAME, "pseudonyms cannot be compared without it")
    if columns and key is None:
        raise VerifyError(
            f"{settings.warehouse_dir / identifiers.KEY_NAME} is gone, which published pseudonyms are made with;"
            " restore it from a backup, or verify the next version, which is made with another one"
        )
    return Masks(connection, rebuilt.stem, columns, key)


def _names(connection: duckdb.DuckDBPyConnection, masks: Masks) -> list[tuple[str, ...]]:
    """The marts of both sides, and the tables of the identities file. What is in the published schema meta alone is a
    record that publishing wrote of a version (meta.publication, meta.restatements …): nothing that landed rows could
    give again."""
    published, rebuilt = relations(connection, "published"), set(relations(connection, "warehouse"))
    marts = sorted(rebuilt | {pair for pair in published if pair[0] != "meta"})
    return [*marts, *((IDENTITIES, *table) for table in sorted(masks.identities()))]


def _compare(connection: duckdb.DuckDBPyConnection, masks: Masks, *of: str) -> MartResult:
    schema, name = of[-2:]
    shown = ".".join(of)
    if of[0] == IDENTITIES:
        places = {"published": ".".join(map(identifier, of)), "warehouse": f"({masks.identities()[schema, name]})"}
        columns = {"published": _columns(connection, *of)}
        if not columns["published"]:
            return MartResult(shown, problem="the published version does not have it")
        return _counted(connection, shown, places, columns["published"], lambda: list(masks.key_of((schema, name))))
    columns = {side: _columns(connection, side, schema, name) for side in ("published", "warehouse")}
    if not columns["published"] or not columns["warehouse"]:
        side = "the published version" if not columns["published"] else "the rebuild"
        return MartResult(shown, problem=f"{side} does not have it")
    if columns["published"] != columns["warehouse"]:
        odd = sorted({column for column, _ in set(columns["published"]) ^ set(columns["warehouse"])})
        return MartResult(shown, problem=f"its columns differ: {', '.join(odd) or 'their order'}")
    places = {
        "published": f"published.{identifier(schema)}.{identifier(name)}",
        "warehouse": f"({masks.selected((schema, name))})",
    }
    return _counted(connection, shown, places, columns["published"], lambda: _grain(connection, schema, name))


def _counted(
    connection: duckdb.DuckDBPyConnection,
    shown: str,
    places: dict[str, str],
    columns: list[tuple[str, str]],
    grain: Callable[[], list[str]],
) -> MartResult:
    """Both sides, compared. grain: gives the columns that tell rows apart, if it is known."""
    started = time.monotonic()
    rows = {side: _one(connection, f"select count(*) from {place}") for side, place in places.items()}  # noqa: S608
    only: dict[str, int] = {}
    keys: list[str] = []
    for side, other, word in (("published", "warehouse", "published"), ("warehouse", "published", "rebuilt")):
        connection.execute(
            f"create or replace temp table only_here as from {places[side]} except all from {places[other]}"
        )
        only[side] = _one(connection, "select count(*) from temp.only_here")
        if only[side]:
            keys += [f"{word}: {key}" for key in _keys(connection, grain(), columns)]
    return MartResult(
        *(shown, rows["published"], rows["warehouse"], only["published"], only["warehouse"], tuple(keys)),
        seconds=time.monotonic() - started,
    )


def _grain(connection: duckdb.DuckDBPyConnection, schema: str, name: str) -> list[str]:
    if not _columns(connection, "published", "meta", "model_sql"):
        return []
    found = connection.execute(
        "select grain from published.meta.model_sql where schema_name = ? and table_name = ?", [schema, name]
    ).fetchall()
    return list(found[0][0] or []) if found else []


def _keys(connection: duckdb.DuckDBPyConnection, grain: list[str], columns: list[tuple[str, str]]) -> Iterator[str]:
    """Some keys of the rows in temp.only_here: by the mart's grain, else by its first columns."""
    key = grain or [column for column, _ in columns[:_WITHOUT_KEY_COLUMNS]]
    names = ", ".join(map(identifier, key))
    for row in connection.execute(
        f"select distinct {names} from temp.only_here order by all limit {SHOWN_KEYS}"  # noqa: S608 (quoted)
    ).fetchall():
        yield ", ".join(f"{column}={value}" for column, value in zip(key, row, strict=True))


def _columns(connection: duckdb.DuckDBPyConnection, database: str, schema: str, name: str) -> list[tuple[str, str]]:
    return connection.execute(
        "select column_name, data_type from duckdb_columns() where database_name = ? and schema_name = ?"
        " and table_name = ? order by column_index",
        [database, schema, name],
    ).fetchall()


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> Any:
    return connection.execute(query).fetchall()[0][0]
