"""Every error that secateur raises on purpose.

SecateurError                     exit code 1
├── UsageError                    exit code 2: the request or the usage is wrong
│   ├── SettingsError             a setting, a context or a flag
│   ├── RequestError              one or more problems of a request, each with its field
│   └── Conflict                  the current state forbids it: for example, the run has finished
│       ├── IdempotencyConflict   the key was used before with a different body
│       ├── NeedsApproval         it exceeds the app's budget: another login has to approve it
│       └── Unsupported           the queue's engine cannot do this, for example pause
├── NotFound                      no such cancellation, run, app or function
├── ReadOnly                      a write was requested in a read-only session
├── Busy                          this process has too much to do; try again
├── NotInstalled                  the database has no (or an older) secateur schema
├── DatabaseError                 an error of Postgres or of the connection
│   ├── Unreachable               no connection; retried where possible
│   ├── PermissionDenied          the role lacks a right
│   ├── QueryTimeout              the statement timed out; nothing was changed
│   ├── DiskFull                  the server's disk is full; nothing was changed
│   ├── OutOfResources            the server is short of resources such as memory; nothing was changed
│   └── LockUnavailable           somebody's open transaction holds the lock; nothing was changed
└── EmbeddedPostgresError         the embedded Postgres did not start
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class SecateurError(Exception):
    """An error whose message tells people what is wrong, where, and what to do."""

    exit_code: ClassVar[int] = 1


class UsageError(SecateurError):
    exit_code = 2


class SettingsError(UsageError):
    pass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a request.

    `field` is the API's name (`if`, `started_after`, …). `line` and `column`
    count from 1, in code points, and are set for `if` only. `excerpt` is the
    source with a caret under the place, ready to print.
    """

    field: str
    message: str
    line: int | None = None
    column: int | None = None
    suggestion: str | None = None
    excerpt: str | None = None


class RequestError(UsageError):
    """All problems of a request at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{problem.field}: {problem.message}" for problem in self.problems))


class Conflict(UsageError):
    pass


class IdempotencyConflict(Conflict):
    pass


class NeedsApproval(Conflict):
    pass


class Unsupported(Conflict):
    pass


class NotFound(SecateurError):
    pass


class ReadOnly(SecateurError):
    pass


class Busy(SecateurError):
    pass


class NotInstalled(SecateurError):
    pass


class DatabaseError(SecateurError):
    pass


class Unreachable(DatabaseError):
    pass


class PermissionDenied(DatabaseError):
    pass


class QueryTimeout(DatabaseError):
    pass


class DiskFull(DatabaseError):
    pass


class OutOfResources(DatabaseError):
    pass


class LockUnavailable(DatabaseError):
    pass


class EmbeddedPostgresError(SecateurError):
    pass
