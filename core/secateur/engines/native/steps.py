"""The steps of a run: which may begin, and which finished in an earlier attempt, with their results."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from secateur.cel.values import decode_exact
from secateur.errors import UsageError

LONGEST_NAME = 500
"""The most characters of a step's name, which is part of a key."""

LARGEST_RESULT = 16_000_000
"""The most characters of a result's JSON. Store larger things elsewhere, and return a reference to them."""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class Steps:
    """What the queue knows about a run's steps. This class knows none and grants all, for tests without a queue."""

    finished: Mapping[str, str] = {}
    """The results, as JSON, of the steps that finished in an earlier attempt, by name."""

    async def begin(self, name: str) -> bool:
        """Whether the step may begin; if not, the run must stop."""
        return True

    async def finish(self, name: str, result: str) -> bool:
        """Store the step's result, as JSON. Returns False if this worker no longer holds the run."""
        return True


@dataclass(slots=True)
class StepNames:
    """The names of one attempt's steps; the next attempt finds the steps by these names."""

    _used: dict[str, int] = field(default_factory=dict)

    def distinct(self, name: str) -> str:
        """The name; if it was used before, the name with a number. Raises `UsageError`."""
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or _UNSTORABLE.search(name):
            raise UsageError(f"a step's name must be a string of 1 to {LONGEST_NAME} characters, not {name!r:.100}")
        again = name
        while again in self._used:
            self._used[name] += 1
            again = f"{name} #{self._used[name]}"
        self._used[again] = 1
        return again


def kept_json(result: object, whose: str) -> str:
    """The result as JSON that Postgres can store. Raises `UsageError`, whose message names `whose` result it is."""
    try:
        text = json.dumps(result, allow_nan=False, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"the result of {whose} cannot be stored as JSON: {error}") from error
    if _NUL.search(text):
        raise UsageError(f"the result of {whose} cannot be stored as JSON: it contains U+0000")
    if len(text) > LARGEST_RESULT:
        raise UsageError(f"the result of {whose} is too large to be stored: {len(text):,} characters of JSON")
    return text


def read_kept(text: str) -> Any:
    """Reads what `kept_json` wrote; the same value whether or not Postgres stored it, which writes 1e2 as 100."""
    return decode_exact(text)
