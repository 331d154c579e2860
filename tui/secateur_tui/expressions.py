"""Expressions that were used before, and filters that were saved under a name; kept between consoles, per database.

They lie in one SQLite file of the user's, `~/.local/state/secateur/expressions.sqlite3` (or under `$XDG_STATE_HOME`),
because several consoles may write at once. Nobody else can read it: expressions hold values of payloads.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from secateur.errors import SecateurError
from secateur.runs import Scope

MOST_OF_SCOPE = 100
"""Earlier expressions of one function, or of one whole app."""
MOST = 2_000
"""Earlier expressions of all databases."""
LONGEST_NAME = 60

_SCHEMA = """
create table if not exists kept (
  context text not null,
  name text not null,
  app_id text not null,
  function_id text not null,
  expression text not null,
  started_after text not null,
  started_before text not null,
  at real not null
);
create unique index if not exists kept_saved on kept (context, name) where name <> '';
create unique index if not exists kept_earlier on kept (context, app_id, function_id, expression) where name = '';
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """A filter as it was typed."""

    app_id: str
    function_id: str | None
    if_: str
    started_after: str = ""
    started_before: str = ""
    name: str = ""
    """Under which it was saved; empty for what was merely used."""
    at: float = 0.0
    """When it was last used or saved, in seconds since 1970."""

    @property
    def scope(self) -> Scope:
        return Scope(self.app_id, self.function_id)


class Expressions:
    """Those of one database. `kept` is what was read or written last; a failure to keep something raises."""

    def __init__(self, path: Path | None = None, context: str = "") -> None:
        """Without a path, they are forgotten with the object."""
        self._path, self._context = path, context
        self.kept: tuple[Kept, ...] = ()
        """Saved filters by name, and then what was used, the newest first."""

    async def load(self) -> None:
        """Read what other consoles have kept as well. Raises `SecateurError`."""
        if self._path is not None and self._path.exists():
            self.kept = await asyncio.to_thread(self._read)

    async def keep(self, filter_: Kept) -> None:
        """Remember a filter that is used, or save one that has a name. Raises `SecateurError`."""
        added = replace(filter_, at=time.time())
        self.kept = _sorted([added, *(each for each in self.kept if not _replaces(added, each))])
        if self._path is not None:
            await asyncio.to_thread(self._write, added)

    def _read(self) -> tuple[Kept, ...]:
        with self._open() as file:
            rows = file.execute(
                """
                select app_id, function_id, expression, started_after, started_before, name, at
                  from kept where context = ?
                """,
                (self._context,),
            )
            return _sorted([Kept(row[0], row[1] or None, *row[2:]) for row in rows])

    def _write(self, each: Kept) -> None:
        function_id = each.function_id or ""
        scope = self._context, each.app_id, function_id
        with self._open() as file:
            if each.name:
                file.execute("delete from kept where context = ? and name = ?", (self._context, each.name))
            else:
                file.execute(
                    """
                    delete from kept
                     where context = ? and app_id = ? and function_id = ? and expression = ? and name = ''
                    """,
                    (*scope, each.if_),
                )
            file.execute(
                "insert into kept values (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(self._context, each.name, each.app_id, function_id, each.if_),
                    *(each.started_after, each.started_before, each.at),
                ),
            )
            file.execute(
                """
                delete from kept where name = '' and rowid in (
                  select rowid from kept where name = '' and context = ? and app_id = ? and function_id = ?
                   order by at desc limit -1 offset ?)
                """,
                (*scope, MOST_OF_SCOPE),
            )
            file.execute(
                """
                delete from kept where name = '' and rowid in (
                  select rowid from kept where name = '' order by at desc limit -1 offset ?)
                """,
                (MOST,),
            )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """One transaction."""
        path = self._path
        try:
            if path is None:
                raise OSError("there is no file")
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            with closing(sqlite3.connect(path, timeout=2.0)) as file, file:
                file.executescript(_SCHEMA)
                yield file
        except (sqlite3.Error, OSError) as error:
            raise SecateurError(f"expressions cannot be kept in {path}: {error}") from error


def of_user(context: str) -> Expressions:
    """Those of this user and this database."""
    base = os.environ.get("XDG_STATE_HOME")
    state = Path(base) if base else Path("~/.local/state").expanduser()
    return Expressions(state / "secateur" / "expressions.sqlite3", context)


def _replaces(added: Kept, other: Kept) -> bool:
    if added.name or other.name:
        return added.name == other.name
    return (added.app_id, added.function_id, added.if_) == (other.app_id, other.function_id, other.if_)


def _sorted(kept: list[Kept]) -> tuple[Kept, ...]:
    return tuple(sorted(kept, key=lambda each: (not each.name, each.name.casefold(), -each.at)))
