"""Reads `~/.pgpass`: lines of host:port:database:user:password; a backslash escapes a colon or a backslash."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

logger = logging.getLogger(__name__)

_FIELD = re.compile(r"((?:[^\\:]|\\.|\\$)*)(?::|$)")


def passfile_path(given: str | None, environment: Mapping[str, str]) -> Path | None:
    """The password file, from the URL, the variable or the home directory; None without a home directory."""
    named = given or environment.get("PGPASSFILE")
    if named:
        return Path(named)
    home = environment.get("HOME") or os.path.expanduser("~")
    return Path(home) / ".pgpass" if os.path.isabs(home) else None


def find_password(path: Path, places: Sequence[tuple[str, str]], database: str, user: str) -> str | None:
    """The password for the first of the places, (host, port), that the file contains.

    If a file cannot be used, the log says why, once; a missing file is not worth a message.
    """
    lines = _lines(path)
    for host, port in places:
        names = {host, "localhost"} if host.startswith("/") or not host else {host}
        for line in lines:
            fields = list(_fields(line))
            if len(fields) >= 5 and all(
                field == "*" or field in wanted
                for field, wanted in zip(fields, (names, {port}, {database}, {user}), strict=False)
            ):
                return fields[4]
    return None


def _fields(line: str) -> Iterator[str]:
    """The five fields; as in libpq, anything after a further colon is ignored."""
    place = 0
    for _ in range(5):
        match = _FIELD.match(line, place)
        if match is None:
            return
        yield re.sub(r"\\(.)", r"\1", match[1])
        place = match.end()
        if place >= len(line) and not match[0].endswith(":"):
            return


def _lines(path: Path) -> list[str]:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            _warn_once(f"the password file {path} is ignored: it is not a plain file")
            return []
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            _warn_once(f"the password file {path} is ignored, because others can read it: chmod 600 {path}")
            return []
        written = path.read_bytes().split(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        _warn_once(f"the password file {path} cannot be read: {error.strerror or error}")
        return []
    lines = []
    for number, line in enumerate(written, 1):
        if not line or line.startswith(b"#"):
            continue
        try:
            lines.append(line.decode().rstrip("\r"))
        except UnicodeDecodeError:
            _warn_once(f"line {number} of the password file {path} is ignored: it is not UTF-8")
    return lines


@cache
def _warn_once(message: str) -> None:
    logger.warning(message)
