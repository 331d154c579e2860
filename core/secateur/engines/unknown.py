"""The error for an app or a function that a queue does not have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from secateur.errors import NotFound
from secateur.runs import FunctionDepth, Scope

MOST_NAMED = 20
"""Names in an error; an app may have thousands of functions."""


def no_such(scope: Scope, depths: Sequence[FunctionDepth]) -> NotFound:
    """The error, with what there is instead; `depths` are those of the whole queue."""
    apps = {each.app_id for each in depths}
    if scope.function_id is None or scope.app_id not in apps:
        return NotFound(f"there is no app {scope.app_id!r}{_known('apps', apps)}")
    functions = {each.function_id for each in depths if each.app_id == scope.app_id}
    return NotFound(f"app {scope.app_id!r} has no function {scope.function_id!r}{_known('functions', functions)}")


def _known(what: str, names: Iterable[str]) -> str:
    named = sorted(names)
    more = ", …" if len(named) > MOST_NAMED else ""
    return f"; known {what}: {', '.join(named[:MOST_NAMED])}{more}" if named else ""
