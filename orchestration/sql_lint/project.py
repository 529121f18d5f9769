"""The compiled models of a project, each knowing which of its text a dispatched macro made; and all that is wrong.

Belongs here: compiling a marked copy of the project, and putting the findings of every rule together. Does not: the
rules.

Dispatched macros say another thing to each engine, and are right to. So that rules can leave their text out, the copy
that is compiled has a comment before and after the body of every macro that has a form for Spark.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.schema import MappingSchema

from orchestration.lineage import Lineage, Relation, Table, column_lineage
from orchestration.model_sql import Model, compile_project, models_of, personal_fields, primary_keys
from orchestration.settings import Settings
from orchestration.sql_lint import joins, personal, portability
from orchestration.sql_lint.keys import FanOut, Key, query_keys

_BODY = re.compile(r"(\{%-? macro default__(\w+)\([^%]*?\) -?%\})(.*?)(\{%-? endmacro)", re.DOTALL)
_MARTS = ("core", "reports", "meta")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. model: schema.name; line: of its compiled SQL, 0 where it is of no line; text: of it."""

    model: str
    rule: str
    line: int
    message: str
    text: str = ""


def lint(settings: Settings) -> list[Finding]:
    """Everything that is wrong with the project's models, by model and line. Raises DbtError where they do not
    compile."""
    with tempfile.TemporaryDirectory(prefix="mtw-lint-") as folder:
        project = Path(folder) / "project"
        _copy_marked(settings.dbt_project_dir, project)
        compiled = compile_project(replace(settings, dbt_project_dir=project), Path(folder))
        manifest = json.loads((Path(folder) / "target" / "manifest.json").read_text(encoding="utf-8"))
        return findings(models_of(manifest, compiled, project), manifest)


def findings(models: list[Model], manifest: Mapping[str, Any]) -> list[Finding]:
    """Of models whose text is marked as `portability` says."""
    found = column_lineage(Relation(model.schema, model.name, model.sql, model.columns) for model in models)
    by_table = {(model.schema, model.name): model for model in models}
    all_found = [Finding(".".join(table), "unreadable", 0, reason) for table, reason in found.unreadable.items()]
    fan_outs = _fan_outs(by_table, found, manifest)
    for table, model in by_table.items():
        if model.sql and table not in found.unreadable:
            all_found += [
                Finding(".".join(table), rule, line, message, _text(model.sql, line))
                for rule, line, message in _of_model(model, fan_outs.get(table, []))
            ]
    declared = {
        (node["schema"], node["name"]): node
        for node in manifest["nodes"].values()
        if node["resource_type"] in ("model", "seed")
    }
    all_found += [
        Finding(".".join(table), rule, 0, message)
        for table, rule, message in personal.reached(found.all_edges(), personal_fields(), declared)
    ]
    return sorted(set(all_found), key=lambda each: (each.model, each.line, each.rule, each.message))


def _of_model(model: Model, fan_outs: list[FanOut]) -> Iterator[tuple[str, int, str]]:
    yield from portability.findings(model.sql)
    yield from joins.multiplied(model.sql, fan_outs)
    if model.schema in _MARTS:
        yield from joins.stars(model.sql)


def _fan_outs(models: Mapping[Table, Model], found: Lineage, manifest: Mapping[str, Any]) -> dict[Table, list[FanOut]]:
    """By model. Models come after those that they read, as lineage found them, so that keys are known by then."""
    schema = MappingSchema(dialect="duckdb", normalize=True)
    for table, columns in found.columns.items():
        schema.add_table(exp.table_(table[1], db=table[0]), dict.fromkeys(columns, "unknown"), match_depth=False)
    keys: dict[Table, set[Key]] = {}
    for table, key in primary_keys(manifest).items():
        keys.setdefault(table, set()).add(frozenset(key.columns))
    fan_outs: dict[Table, list[FanOut]] = {}
    for table in found.columns:
        model = models.get(table)
        if model is None or not model.sql:
            continue
        try:
            tree = cast(exp.Expr, sqlglot.parse_one(model.sql, dialect="duckdb"))
            read = query_keys(tree, schema, keys)
        except (SqlglotError, RecursionError, KeyError):
            continue  # told as unreadable
        keys.setdefault(table, set()).update(read.keys)
        fan_outs[table] = list(dict.fromkeys(read.fan_outs))
    return fan_outs


def _copy_marked(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("target", "logs"))
    macros = {path: path.read_text(encoding="utf-8") for path in target.glob("macros/**/*.sql")}
    for_spark = {name for text in macros.values() for name in re.findall(r"macro spark__(\w+)", text)}

    def marked(match: re.Match[str]) -> str:
        if match[2] not in for_spark:
            return match[0]
        return f"{match[1]}{portability.BEGIN}{match[3]}{portability.END}{match[4]}"

    for path, text in macros.items():
        path.write_text(_BODY.sub(marked, text), encoding="utf-8")


def _text(sql: str, line: int) -> str:
    lines = sql.splitlines()
    return lines[line - 1].strip() if 0 < line <= len(lines) else ""
