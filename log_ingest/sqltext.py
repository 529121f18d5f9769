"""Writing values and names into DuckDB SQL where parameters cannot go (COPY, DDL). The only place that quotes."""


def literal(text: str) -> str:
    """A SQL string literal of any text."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A SQL identifier of any name."""
    return '"' + name.replace('"', '""') + '"'
