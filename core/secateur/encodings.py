"""Finds text from the operating system that is not UTF-8, such as input from a terminal with another encoding.

Python keeps each byte that it cannot decode as half of a surrogate pair, which neither Postgres nor JSON accepts.
Only the standard library is imported here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from secateur.errors import SettingsError

_SURROGATE = re.compile("[\ud800-\udfff]")


def problem_of_encoding(text: str) -> str | None:
    """What is wrong with an argument; None if nothing. The message never quotes it, because it may hold a password."""
    found = _SURROGATE.search(text)
    if found is None:
        return None
    byte = ord(found[0]) & 0xFF  # as Python keeps it, U+DC80 to U+DCFF
    return (
        f"is not UTF-8: character {found.start() + 1} is the byte 0x{byte:02x}; "
        "set the terminal and the locale to UTF-8 (LC_ALL=C.UTF-8)"
    )


def check_encodings(environment: Mapping[str, str], names: Iterable[str]) -> None:
    """Raises `SettingsError` if a variable in `names` is not UTF-8, without its value, which may be secret."""
    for name in names:
        if _SURROGATE.search(environment.get(name, "")):
            raise SettingsError(f"the environment variable {name} is not UTF-8: write its value in UTF-8, or unset it")
