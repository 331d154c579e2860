"""The steps of a run: which may begin, which have finished in an earlier attempt, and with what."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from secateur.cel.values import decode_exact
from secateur.errors import UsageError

LONGEST_NAME = 500
"""Characters of a step's name: it is part of a key."""

LARGEST_RESULT = 16_000_000
"""Characters of a result's JSON. Larger things belong elsewhere, and the result is where."""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class Steps:
    """What the queue knows of a run's steps. This one knows nothing and grants all, as in a test without a queue."""

    finished: Mapping[str, str] = {}
    """Those that finished in an earlier attempt, by name: the results' JSON."""

    async def begin(self, name: str) -> bool:
        """Whether the step may begin; False: the run must stop."""
        return True

    async def finish(self, name: str, result: str) -> bool:
        """Keep what the step returned, as JSON. False: the run is not this worker's any more."""
        return True


@dataclass(slots=True)
class StepNames:
    """The names of one attempt's steps, by which the next attempt finds them again."""

    _used: dict[str, int] = field(default_factory=dict)

    def distinct(self, name: str) -> str:
        """The name, or where it was used before, the name with a number. Raises `UsageError`."""
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or _UNSTORABLE.search(name):
            raise UsageError(f"a step's name must be a string of 1 to {LONGEST_NAME} characters, not {name!r:.100}")
        again = name
        while again in self._used:
            self._used[name] += 1
            again = f"{name} #{self._used[name]}"
        self._used[again] = 1
        return again


def kept_json(result: object, whose: str) -> str:
    """The result as JSON that Postgres can keep. Raises `UsageError` that says `whose` it is."""
    try:
        text = json.dumps(result, allow_nan=False, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"the result of {whose} cannot be kept as JSON: {error}") from error
    if _NUL.search(text):
        raise UsageError(f"the result of {whose} cannot be kept as JSON: it contains U+0000")
    if len(text) > LARGEST_RESULT:
        raise UsageError(f"the result of {whose} is too large to be kept: {len(text):,} characters of JSON")
    return text


def read_kept(text: str) -> Any:
    """What `kept_json` wrote; the same whether or not it has been in Postgres meanwhile, which writes 1e2 as 100."""
    return decode_exact(text)
