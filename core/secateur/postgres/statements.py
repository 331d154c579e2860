"""Named SQL, kept in `.sql` files beside the module that uses it.

A file is a sequence of

    -- name: depth
    -- Why this statement is what it is.
    select …

A statement reaches from its comment to the next `-- name:`; the name is a word, and used once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Self

NAME = re.compile(r"^-- name: ([a-z_][a-z0-9_]*)[ \t]*$", re.MULTILINE)

_PLACE = re.compile(r"\{(\w+)\}")


class Statements(Mapping[str, str]):
    """The statements of one file by name, each with its comment, so that the comment shows in the server's log."""

    def __init__(self, text: str, origin: str) -> None:
        """`origin` names the text in errors. Raises `ValueError` if the text does not have the format."""
        start, *named = NAME.split(text)
        if any(line.strip() and not line.startswith("--") for line in start.splitlines()):
            raise ValueError(f"{origin}: SQL before the first `-- name:`")
        self._origin = origin
        self._statements: dict[str, str] = {}
        for name, body in zip(named[::2], named[1::2], strict=True):
            if name in self._statements:
                raise ValueError(f"{origin}: `{name}` is defined twice")
            statement = body.strip().removesuffix(";")
            if not any(line.strip() and not line.startswith("--") for line in statement.splitlines()):
                raise ValueError(f"{origin}: `{name}` has no SQL")
            self._statements[name] = statement

    @classmethod
    def load(cls, package: str, file: str) -> Self:
        return cls(files(package).joinpath(file).read_text(encoding="utf-8"), f"{package}/{file}")

    def __getitem__(self, name: str) -> str:
        try:
            return self._statements[name]
        except KeyError:
            raise KeyError(f"{self._origin} has no statement `{name}`") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._statements)

    def __len__(self) -> int:
        return len(self._statements)


def fill(sql: str, names: Mapping[str, str]) -> str:
    """The statement with its placeholders, such as `{runs}`, filled in. What is filled in is not filled in again."""
    return _PLACE.sub(lambda found: names.get(found[1], found[0]), sql)
