"""Translates errors of Postgres and of the connection into secateur's errors, with messages for people."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import asyncpg

from secateur.bounds import NUL
from secateur.errors import (
    Conflict,
    DatabaseError,
    DiskFull,
    IdempotencyConflict,
    LockUnavailable,
    NeedsApproval,
    NotFound,
    NotInstalled,
    OutOfResources,
    PermissionDenied,
    Problem,
    QueryTimeout,
    ReadOnly,
    RequestError,
    SecateurError,
    SettingsError,
    Unreachable,
)
from secateur.words.shell import command_line

TRANSACTION_MODE = (
    "{database} is behind a pooler in transaction or statement mode, which changes the session between two "
    "statements; secateur needs a session of its own. Connect to Postgres directly, or to a pool in session mode "
    "(pool_mode = session)"
)

GRANT = (
    "grant one of secateur's roles to it: secateur_viewer to look, secateur_operator to cancel as well, "
    "secateur_worker to enqueue and work"
)


def translate(error: BaseException, database: str, *, in_time: bool | None = None) -> SecateurError | None:
    """The error to raise instead; None for a bug, which should look like one.

    `database` says which one, without a password. `in_time` says whether the failed statement was still within the
    time limit that this program gave it; None if it gave none. The server has one SQLSTATE for a statement that timed
    out and one that somebody cancelled, and says which in its own language only.
    """
    match error:
        case asyncpg.QueryCanceledError() if in_time is not None:
            return _cancelled(error) if in_time else _timed_out(error, database)
        case asyncpg.DataError() if error.severity is None:
            # An argument that never reached the server: not Unicode or too large; or of the wrong type, which is a bug.
            if isinstance(error.__cause__, UnicodeEncodeError | OverflowError):
                return RequestError([Problem("request", f"has a value that Postgres cannot store: {error}"[:500])])
            return None
        case asyncpg.PostgresError():
            return _from_server(error, database)
        case asyncpg.ClientConfigurationError():
            return SettingsError(f"the database's address is not valid: {error}")
        case asyncpg.InterfaceError() if "closed" in str(error):
            return Unreachable(f"the connection to {database} was lost")
        case asyncpg.TargetServerAttributeNotMatched():
            return Unreachable(f"no server of {database} matches target_session_attrs: {error}")
        case asyncpg.OutdatedSchemaCacheError():
            return None
        case asyncpg.InternalClientError():
            # asyncpg lost track of the protocol and dropped the connection, usually because the server closed it
            # while it was idle, and the end of file arrived just after the next statement was sent.
            return Unreachable(f"the connection to {database} was lost")
        case OSError():
            return Unreachable(f"cannot reach {database}: {_why_unreachable(error)}")
    return None


def _why_unreachable(error: OSError) -> str:
    match error:
        case TimeoutError():
            return "no answer in time"
        case ConnectionRefusedError():
            return "connection refused; is the server running?"
        case FileNotFoundError():
            return f"the socket does not exist; is the server running? ({error})"
        case socket.gaierror():
            return "the host name is not known"
        case ssl.SSLCertVerificationError():
            return f"the server's certificate is not trusted: {error.verify_message.rstrip('.')}"
        case ssl.SSLError():
            return f"TLS failed ({error.reason or error})"
        case ConnectionError() if "rejected SSL upgrade" in str(error):
            return "the server does not offer TLS, which sslmode requires"
        case ConnectionError() if "during SSL exchange" in str(error):
            return "the server refused TLS; its log says why"
        case ConnectionError():
            return "the connection was lost"
    return str(error)


def _from_server(error: asyncpg.PostgresError, database: str) -> SecateurError:
    state = error.sqlstate or ""
    translation = BY_STATE.get(state) or BY_CLASS.get(state[:2])
    if translation is not None:
        return translation(error, database)
    return DatabaseError(f"Postgres refused: {_sentence(error)}")


def _sentence(error: asyncpg.PostgresError) -> str:
    """The server's message, on one line."""
    parts = [getattr(error, "message", None) or str(error), error.detail, error.hint]
    return "; ".join(" ".join(part.split()).rstrip(".") for part in parts if part)


def _changing_sessions(error: asyncpg.PostgresError, database: str) -> SecateurError:
    return SettingsError(f"{TRANSACTION_MODE.format(database=database)} ({_sentence(error)})")


def _lost(error: asyncpg.PostgresError, database: str) -> SecateurError:
    return Unreachable(f"cannot reach {database}: {_sentence(error)}")


def _login(error: asyncpg.PostgresError, database: str) -> SecateurError:
    return PermissionDenied(f"{database} refused the login: {_sentence(error)}")


def _no_database(error: asyncpg.PostgresError, database: str) -> SecateurError:
    return DatabaseError(f"the database does not exist: {_sentence(error)}")


def _undefined(error: asyncpg.PostgresError, database: str) -> SecateurError:
    if "secateur" not in _sentence(error):
        return DatabaseError(f"Postgres refused: {_sentence(error)}")
    return NotInstalled(
        f"{database} has no secateur schema, or an older one: run `{command_line('install')}` ({_sentence(error)})"
    )


def _denied(error: asyncpg.PostgresError, database: str) -> SecateurError:
    sentence = _sentence(error)
    # Without a right on the schema, the role is in none of ours; a viewer lacks the functions that change something.
    remedy = f"; {GRANT}" if re.search(r"\bsecateur\b|for function ", sentence) else ""
    return PermissionDenied(f"the role lacks a right in {database}: {sentence}{remedy}")


def _cancelled(error: asyncpg.PostgresError) -> SecateurError:
    return DatabaseError(f"somebody cancelled the statement in Postgres; nothing was changed ({_sentence(error)})")


def _timed_out(error: asyncpg.PostgresError, database: str) -> SecateurError:
    return QueryTimeout(f"the statement timed out; nothing was changed ({_sentence(error)})")


def _ended(error: asyncpg.PostgresError, database: str) -> SecateurError:
    return QueryTimeout(
        "Postgres ended the statement, at the time limit of the role or the database or because somebody cancelled it; "
        f"nothing was changed ({_sentence(error)})"
    )


def _locked(error: asyncpg.PostgresError, database: str) -> SecateurError:
    return LockUnavailable(f"an open transaction holds a lock; nothing was changed ({_sentence(error)})")


def _disk_full(error: asyncpg.PostgresError, database: str) -> SecateurError:
    return DiskFull(f"the disk of {database} is full; nothing was changed ({_sentence(error)})")


def _short(error: asyncpg.PostgresError, database: str) -> SecateurError:
    return OutOfResources(f"{database} is short of resources; nothing was changed ({_sentence(error)})")


def _read_only(error: asyncpg.PostgresError, database: str) -> SecateurError:
    return ReadOnly(f"the session with {database} is read-only; nothing was changed")


def _request(error: asyncpg.PostgresError, database: str) -> SecateurError:
    """One problem for each line of a message of our functions: `priority: must be …`, `events[2]: must be …`.

    COLUMN has the field without an index, HINT a suggestion.
    """
    message = getattr(error, "message", None) or str(error)
    field = error.column_name or "request"
    prefix = re.compile(rf"(?:\w+\.)?{re.escape(field)}(?:\[(?P<index>\d+)\])?: ")
    problems = []
    for line in message.splitlines():
        found = prefix.match(line)
        text = line[found.end() :] if found else line
        if found and found["index"]:
            text = f"item {int(found['index']):,} {text}"
        problems.append(Problem(field, text, suggestion=error.hint))
    return RequestError(problems)


def _conflict(error: asyncpg.PostgresError, database: str) -> SecateurError:
    kind = IdempotencyConflict if error.column_name == "idempotency_key" else Conflict
    return kind(_sentence(error))


def _condition(error: asyncpg.PostgresError, database: str) -> SecateurError:
    return DatabaseError(
        f"{database} refused this condition; is its secateur schema older than this program? ({_sentence(error)})"
    )


def _said(error: asyncpg.PostgresError, database: str) -> SecateurError:
    return DatabaseError(_sentence(error))


Translation = Callable[[asyncpg.PostgresError, str], SecateurError]

BY_STATE: dict[str, Translation] = {
    "25006": _read_only,
    "25P03": _lost,
    "25P04": _timed_out,
    # Statements prepared in another session, or by somebody else in this one.
    "26000": _changing_sessions,
    "42P05": _changing_sessions,
    "28000": _login,
    "28P01": _login,
    "3D000": _no_database,
    "3F000": _undefined,
    "40P01": _locked,
    "42501": _denied,
    "42883": _undefined,
    "42P01": _undefined,
    "53100": _disk_full,
    "53300": _lost,
    "55P03": _locked,
    "57014": _ended,
    "57P01": _lost,
    "57P02": _lost,
    "57P03": _lost,
    "57P04": _lost,
    "57P05": _lost,
    # Raised by the functions in the schema secateur.
    "SC403": lambda error, database: NeedsApproval(_sentence(error)),
    "SC404": lambda error, database: NotFound(_sentence(error)),
    "SC400": _condition,
    "SC409": _conflict,
    "SC412": _said,
    "SC421": _said,
    "SC422": _request,
    "SC423": lambda error, database: LockUnavailable(_sentence(error)),
}

BY_CLASS: dict[str, Translation] = {"08": _lost, "53": _short}


@contextmanager
def keeping_events() -> Iterator[None]:
    """Raise `RequestError` if Postgres cannot store an event as JSON, for example because it contains U+0000."""
    try:
        yield
    except DatabaseError as error:
        if isinstance(error.__cause__, asyncpg.DataError | asyncpg.ProgramLimitExceededError):
            raise RequestError([Problem("event", why_not_stored(error.__cause__, error))]) from error
        raise


def why_not_stored(error: BaseException, told: object) -> str:
    """What is wrong with an event that Postgres refused with that error; `told` is the error in words."""
    # Its other reason is a database with another encoding than UTF-8, where the character is not there at all.
    has_nul = isinstance(error, asyncpg.UntranslatableCharacterError) and "\\u0000" in (error.detail or "")
    return NUL if has_nul else f"cannot be stored: {told}"
