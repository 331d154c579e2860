"""Settings: flags override the environment, which overrides the configuration file, which overrides the defaults.

The file is TOML, at `--config`, else `$SECATEUR_CONFIG`, else `~/.config/secateur/config.toml` (or under
`$XDG_CONFIG_HOME`). Every setting `x` can be given as the variable `SECATEUR_X`.
"""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from secateur.encodings import check_encodings
from secateur.errors import SettingsError
from secateur.places import default_path, read_config
from secateur.settings import Settings

PREFIX = "SECATEUR_"
_READ = ("DATABASE_URL", "TZ", "LOGNAME", "USER", "LNAME", "USERNAME")
"""Other variables that are read; `getpass.getuser` reads the last four."""
_TABLES = ("contexts", "keys", "themes", "watch")
"""The settings that are neither a word nor a number: their variables hold JSON."""


def load_settings(config: Path | None = None, **flags: object) -> Settings:
    """The settings from the file, the environment and the flags that are not None.

    `config` is the file named by a flag; it must exist. Raises `SettingsError` with every problem at once.
    """
    prefixed = [name for name in os.environ if name.startswith(PREFIX)]
    check_encodings(os.environ, [*prefixed, *_READ])
    in_file = read_config(config)
    in_flags = {name: value for name, value in flags.items() if value is not None}
    in_environment = _in_environment()
    if not (given := {**in_file, **in_environment, **in_flags}):
        return Settings()
    # The library that checks takes a tenth of a console's start.
    from secateur.checked_settings import checked

    origins = {
        **dict.fromkeys(in_file, f"{config or default_path()}: "),
        **{name: f"{PREFIX}{name.upper()}: " for name in in_environment},
        **{name: f"--{name.replace('_', '-')}: " for name in in_flags},
    }
    return checked(given, origins)


def _in_environment() -> dict[str, Any]:
    """What the variables say; an empty one says nothing."""
    variables = {name.upper(): value for name, value in os.environ.items() if value}
    found: dict[str, Any] = {}
    for name in (each.name for each in fields(Settings)):
        variable = PREFIX + name.upper()
        if variable not in variables:
            continue
        try:
            found[name] = json.loads(variables[variable]) if name in _TABLES else variables[variable]
        except ValueError as error:
            raise SettingsError(f"{variable} is not valid JSON: {error}") from None
    return found
