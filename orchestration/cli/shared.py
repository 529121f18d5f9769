"""What several commands share: how they end, what they are told, where they print.

Belongs here: exit codes and one-line errors, settings, the terminal. Does not: any command. Imports that take long are
inside functions.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from rich.console import Console

    from orchestration.settings import Settings


def fail(message: str, code: int = 1) -> NoReturn:
    """End with one line on standard error and an exit code."""
    from orchestration.settings import without_secrets
    from orchestration.text import plain

    click.echo(f"mtw: {plain(without_secrets(message), 700)}", err=True)
    sys.exit(code)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Errors whose message says what to do become that one line; a broken pipe ends quietly."""
    try:
        yield
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fail(f"{where}{error.strerror or error}; check the path and its permissions")
    except (RuntimeError, ValueError) as error:
        fail(str(error) or type(error).__name__)
    except Exception as error:
        if type(error).__name__ in _SAYS_WHAT_TO_DO:
            # A setting is given as an option is: one that cannot be used is wrong usage.
            fail(str(error), 2 if type(error).__name__ == "SettingsError" else 1)
        raise


# By name: importing these classes would take longer than most commands.
_SAYS_WHAT_TO_DO = {
    "SettingsError",
    "StorageUnusable",
    "DbtError",
    "PublishError",
    "IngestError",
    "LedgerDatabaseError",
    "NotPublishedError",
    "StorageError",
    "PipelineLocked",
    "VerifyError",
    "AccessError",
    "RecordsError",
}


def load_settings() -> "Settings":
    from orchestration.settings import Settings, SettingsError

    try:
        return Settings.load()
    except SettingsError as error:
        fail(str(error), 2)


def check_taken_in(settings: "Settings") -> None:
    """End with one line where there is no ledger yet."""
    from log_ingest.ledger import exists

    if not exists(settings.ledger):
        fail(f"nothing was taken in yet ({settings.ledger} does not exist); run: mtw run")


def terminal() -> "Console":
    from rich.console import Console

    # Piped output is not wrapped to an imagined terminal of 80 columns.
    return Console(highlight=False, emoji=False, markup=False, width=None if sys.stdout.isatty() else 160)


def note(text: str) -> None:
    from orchestration.text import plain

    click.echo(f"mtw: {plain(text, 400)}", err=True)


def is_installed(project: Path) -> bool:
    """Whether this dbt project is the one that a wheel brought: an upgrade replaces it."""
    from orchestration.settings import IS_CHECKOUT, PROJECT_DIR

    return not IS_CHECKOUT and project.is_relative_to(PROJECT_DIR)


COPY_FIRST = "mtw dbt-project DIR, and set MTW_DBT_PROJECT_DIR to it"


def from_here(path: Path) -> Path:
    """The path as a user in the working directory would type it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
