"""Decides who may send a request, before anything else is read of it.

Without any token the server answers everybody on this machine, and nobody else: see `guard`. From the first token on,
every request needs one, except the health check. Cross-origin requests never succeed: a page of another site knows no
token, and no answer has a CORS header.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from secateur.api.attempts import TokenAttempts
from secateur.api.failures import failure, failure_of
from secateur.api.guard import READING, why_ambiguous, why_foreign
from secateur.errors import SecateurError
from secateur.tokens.keeping import Presented, Tokens, TokenScope
from secateur.tokens.secrets import Credential, read_token

logger = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/healthz"})
"""What needs no token: load balancers have none. A caller without one learns the status alone."""

READING_POSTS = frozenset({"/v1/cancellations/preview", "/v1/retries/preview"})
"""Paths that change nothing although they are posted to."""

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="secateur"'}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request, as far as that is proven."""

    token: str | None
    """The token's name; None for somebody on this machine, where no token is needed."""
    is_known: bool = True
    """False for a stranger, who gets an answer from an open path only."""
    credential: Credential | None = None
    """What proves the token to the database, too."""
    asked_at: datetime | None = None
    """When the caller was let in, by the database's clock; None where the database was not asked."""


class Access:
    """Leaves a `Caller` in the request's state, or answers 401, 403 or 429 itself."""

    def __init__(self, app: ASGIApp, *, tokens: Tokens | None, is_exposed: bool) -> None:
        """`tokens` None: there can be none. `is_exposed`: others than this machine reach the server."""
        self._app = app
        self._tokens = tokens
        self._is_exposed = is_exposed
        self._attempts = TokenAttempts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = {**scope, "state": scope.get("state", {})}
        try:
            found = await self._caller(scope, Headers(scope=scope))
        except SecateurError as error:
            found = failure_of(error)
        if isinstance(found, Caller):
            scope["state"]["caller"] = found
            await self._app(scope, receive, send)
        else:
            await found(scope, receive, send)

    async def _caller(self, scope: Scope, headers: Headers) -> Caller | JSONResponse:
        """The caller, or the answer to a request that is refused."""
        if reason := why_ambiguous(headers):
            return failure(HTTPStatus.BAD_REQUEST, reason, headers={"Connection": "close"})
        given = headers.getlist("authorization")
        if given:
            return await self._with_token(scope, given)
        needs_token, asked_at = await self._needs_token()
        if not needs_token:
            if reason := why_foreign(headers, scope["method"]):
                return failure(HTTPStatus.FORBIDDEN, reason)
            return Caller(None, asked_at=asked_at)
        if scope["path"] in OPEN_PATHS:
            return Caller(None, is_known=False)
        return self._refuse(scope, "this server needs a token: send `Authorization: Bearer TOKEN`")

    async def _needs_token(self) -> tuple[bool, datetime | None]:
        now = None
        if not self._is_exposed and self._tokens is not None:
            self._is_exposed, now = await self._tokens.exist()
        return self._is_exposed, now

    async def _with_token(self, scope: Scope, given: list[str]) -> Caller | JSONResponse:
        scheme, _, text = given[0].partition(" ")
        credential = read_token(text.strip()) if len(given) == 1 and scheme.lower() == "bearer" else None
        if credential is None:
            return self._refuse(scope, "this is not a secateur token: send `Authorization: Bearer TOKEN`")
        address = _address(scope)
        # Whoever may not try again is answered without a look at the database, unless the token was good before.
        if self._attempts.wait(address) and not self._attempts.has_succeeded(credential.secret_hash):
            return self._refuse(scope, "too many tokens were wrong")
        token = await self._tokens.find(credential) if self._tokens is not None else None
        if token is None:
            return self._refuse(scope, "there is no such token")
        if not token.is_valid:
            self._attempts.forget(credential.secret_hash)
            return self._refuse(scope, _why_invalid(token))
        self._attempts.succeed(credential.secret_hash)
        return await self._authorised(scope, token, credential, address)

    async def _authorised(
        self, scope: Scope, token: Presented, credential: Credential, address: str
    ) -> Caller | JSONResponse:
        assert self._tokens is not None  # noqa: S101 - the token was found there
        path = scope["path"]
        reads = scope["method"] in {*READING, "OPTIONS"} or path in READING_POSTS
        if not reads and token.scope != TokenScope.OPERATOR:
            return failure(HTTPStatus.FORBIDDEN, f"the token {token.name!r} may only read; this needs scope operator")
        if self._tokens.notes_use and (not reads or token.unnoted):
            method = None if reads else scope["method"]
            await self._tokens.note_use(token, method, path[:1000], address[:100])
        return Caller(token.name, credential=credential, asked_at=token.now)

    def _refuse(self, scope: Scope, reason: str) -> JSONResponse:
        """401; or 429 if too many requests from this address were refused."""
        address = _address(scope)
        wait = self._attempts.wait(address)
        if wait:
            message = "too many requests without a valid token came from this address: try again later"
            return failure(HTTPStatus.TOO_MANY_REQUESTS, message, headers={"Retry-After": str(math.ceil(wait))})
        if self._attempts.fail(address):
            logger.warning("too many requests without a valid token from %s: the next ones are answered 429", address)
        return failure(HTTPStatus.UNAUTHORIZED, reason, headers=CHALLENGE)


def _why_invalid(token: Presented) -> str:
    if token.revoked_at is not None:
        return f"the token {token.name!r} was revoked at {token.revoked_at:%Y-%m-%d %H:%M} UTC"
    return f"the token {token.name!r} expired at {token.expired_at:%Y-%m-%d %H:%M} UTC"


def _address(scope: Scope) -> str:
    """Of the client; of the proxy's client if the proxy is trusted."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"
