"""Which database is meant: by flags, by the environment or by the configuration file, read without checking the rest.

What completes a command line asks this alone, because a key was pressed; `settings` checks everything.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secateur.errors import SettingsError

LIBPQ = ("PGSERVICE", "PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER")
"""Setting any of these names a database; a password file alone does not."""

NO_DATABASE = (
    "no database is named: give --database URL or --context NAME, set DATABASE_URL or PGHOST, PGDATABASE, …, "
    "or name one in the configuration file; `secateur demo` brings its own"
)


def default_path() -> Path:
    """The configuration file where no flag names one."""
    named = os.environ.get("SECATEUR_CONFIG")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path("~/.config").expanduser()) / "secateur" / "config.toml"


def read_config(config: Path | None) -> dict[str, Any]:
    """What the file says, whatever that is. One that is named, by a flag or by a variable, must exist.

    Raises `SettingsError` if it cannot be read.
    """
    path = config or default_path()
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):  # a service's home is often /dev/null
        if config is not None or os.environ.get("SECATEUR_CONFIG"):
            raise SettingsError(f"there is no configuration file {path}") from None
        return {}
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error


def choose(
    database: str | None, context: str | None, default_context: str | None, environment: Mapping[str, str]
) -> tuple[str | None, str | None]:
    """A database's URL, or a context's name; neither if libpq's variables name it. Raises `SettingsError`."""
    if database and context:
        raise SettingsError("--database and --context cannot be given together: leave one out")
    if not database and not context:
        database, context = environment.get("SECATEUR_DATABASE"), environment.get("SECATEUR_CONTEXT")
        if database and context:
            raise SettingsError("SECATEUR_DATABASE and SECATEUR_CONTEXT cannot both be set: unset one")
    if not database and not context:
        database = environment.get("DATABASE_URL")
    if not database:
        context = context or default_context
    if context:
        return None, context
    if not database and not any(environment.get(name) for name in LIBPQ):
        raise SettingsError(NO_DATABASE)
    return database or None, None
