"""The tokens of one database: who may call the HTTP API."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from secateur.bounds import problem_of_name, require
from secateur.errors import NotInstalled
from secateur.postgres.database import Database
from secateur.postgres.statements import Statements
from secateur.tokens.secrets import Credential, new_token, read_token

LONGEST_TOKEN_NAME = 64

_SQL = Statements.load("secateur.tokens", "keeping.sql")


class TokenScope(StrEnum):
    """What a token may do."""

    VIEWER = "viewer"
    """Whatever changes nothing."""
    OPERATOR = "operator"
    """Whatever the server's own role may do."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is kept: without its secret."""

    token_id: str
    """The public half of its text."""
    name: str
    scope: TokenScope
    created_at: datetime
    created_by: str
    """The author, as claimed by the client."""
    created_role: str
    """The database role that created it, which is proven."""
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None
    last_used_at: datetime | None
    """To the minute."""
    expired: bool

    @property
    def state(self) -> str:
        """`valid`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expired else "valid"


@dataclass(frozen=True, slots=True)
class Presented:
    """A token whose text somebody sent."""

    token_id: str
    name: str
    scope: TokenScope
    expired_at: datetime | None
    """When it expired; None if it has not."""
    revoked_at: datetime | None
    unnoted: bool
    """Whether its last use was noted more than a minute ago."""
    now: datetime
    """When it was looked up, by the database's clock."""

    @property
    def is_valid(self) -> bool:
        return self.expired_at is None and self.revoked_at is None


class Tokens:
    """Creating, revoking, and looking up. Every method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._can_be_made = False
        """Whether the table of tokens was seen."""

    @property
    def notes_use(self) -> bool:
        """Whether this session can note that a token was used: a read-only one cannot."""
        return not self._database.read_only

    async def exist(self) -> tuple[bool, datetime]:
        """Whether a token was ever created here, also one that is expired or revoked by now; and the database's
        time."""
        if not self._can_be_made:
            self._can_be_made, now = await self._look("can_be_made")
            if not self._can_be_made:
                return False, now
        return await self._look("exist")

    async def _look(self, statement: str) -> tuple[bool, datetime]:
        row = await self._database.fetchrow(_SQL[statement], repeatable=True)
        assert row is not None  # noqa: S101 - the statement always returns a row
        return row["exist"], row["now"]

    async def list(self) -> list[Token]:
        """Newest first."""
        return [_token(row) for row in await self._database.fetch(_SQL["tokens"])]

    async def create(
        self, name: str, scope: TokenScope, *, expires: timedelta | None, author: str, source: str
    ) -> tuple[Token, str]:
        """The token and its text, which nobody can tell again.

        Raises `RequestError`, `Conflict` if there is a token of that name, and `PermissionDenied`.
        """
        require({"name": problem_of_name(name, LONGEST_TOKEN_NAME)})
        text = new_token()
        credential = read_token(text)
        assert credential is not None  # noqa: S101 - it was just made
        row = await self._database.fetchrow(
            _SQL["create_token"],
            *(credential.token_id, name, scope, credential.secret_hash, expires, author, source, credential.proof_hash),
        )
        return _token(row), text

    async def revoke(self, name: str, *, author: str, source: str) -> Token:
        """From the next request on it is refused. Repeatable; raises `NotFound`."""
        return _token(await self._database.fetchrow(_SQL["revoke_token"], name, author, source))

    async def find(self, credential: Credential) -> Presented | None:
        """The token of that text; None if it is none of ours. It may be expired or revoked.

        The secret's hash is compared in a time that does not depend on it.
        """
        try:
            row = await self._database.fetchrow(_SQL["token"], credential.token_id, repeatable=True)
        except NotInstalled:
            row = None
        kept = row["secret_hash"] if row is not None else "0" * len(credential.secret_hash)
        if not hmac.compare_digest(kept, credential.secret_hash) or row is None:
            return None
        return Presented(
            row["token_id"],
            row["name"],
            TokenScope(row["scope"]),
            expired_at=row["expires_at"] if row["expired"] else None,
            revoked_at=row["revoked_at"],
            unnoted=row["unnoted"],
            now=row["now"],
        )

    async def note_use(self, token: Presented, method: str | None, path: str, address: str) -> None:
        """Keep when it was used, and audit the request if it may change something; `method` None: it only reads."""
        await self._database.fetchval(_SQL["note_token_use"], token.token_id, method, path, address)


def _token(row: Any) -> Token:
    return Token(**{**dict(row), "scope": TokenScope(row["scope"])})
