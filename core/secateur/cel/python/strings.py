"""The string functions in Python; places and lengths count code points.

The semantics are those of the widespread extension of the standard, where its implementations differ Google's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from secateur.cel import messages as say
from secateur.cel.diagnostics import EvaluationError
from secateur.cel.python.operations import check_items, check_text
from secateur.cel.values import Value

SPACES = "\t\n\v\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
SPACES += "\u2028\u2029\u202f\u205f\u3000"
"""Unicode's white space; Python's own notion has four control characters more."""

_UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_TO_LOWER = str.maketrans(_UPPER, _UPPER.lower())
_TO_UPPER = str.maketrans(_UPPER.lower(), _UPPER)


def _place(place: int, text: str) -> int:
    if not 0 <= place <= len(text):
        raise EvaluationError(say.no_such_place(place, len(text)))
    return place


def _char_at(text: str, place: int) -> str:
    return text[_place(place, text) :][:1]


def _index_of(text: str, part: str, start: int = 0) -> int:
    return text.find(part, _place(start, text))


def _last_index_of(text: str, part: str, start: int | None = None) -> int:
    last = len(text) if start is None else _place(start, text)
    return text.rfind(part, 0, last + len(part))


def _substring(text: str, start: int, end: int | None = None) -> str:
    end = len(text) if end is None else end
    _place(start, text)
    _place(end, text)
    if end < start:
        raise EvaluationError(say.ends_before(start, end))
    return text[start:end]


def _replace(text: str, old: str, new: str, limit: int = -1) -> str:
    times = text.count(old)
    times = times if limit < 0 else min(times, limit)
    check_text(len(text) + times * (len(new) - len(old)))
    return text.replace(old, new, times)


def _split(text: str, separator: str, limit: int = -1) -> list[Value]:
    if limit == 0:
        return []
    if separator:
        parts = text.split(separator, limit - 1 if limit > 0 else -1)
    elif 0 < limit < len(text):
        parts = [*text[: limit - 1], text[limit - 1 :]]
    else:
        parts = list(text) or [text]
    check_items(len(parts))
    return parts


def _join(texts: list[str], separator: str = "") -> str:
    check_text(sum(map(len, texts)) + len(separator) * max(0, len(texts) - 1))
    return separator.join(texts)


TEXT_FUNCTIONS: Mapping[str, tuple[Callable[..., Value], tuple[type, ...], int]] = {
    "lowerAscii": (lambda text: text.translate(_TO_LOWER), (str,), 1),
    "upperAscii": (lambda text: text.translate(_TO_UPPER), (str,), 1),
    "trim": (lambda text: text.strip(SPACES), (str,), 1),
    "charAt": (_char_at, (str, int), 2),
    "indexOf": (_index_of, (str, str, int), 2),
    "lastIndexOf": (_last_index_of, (str, str, int), 2),
    "substring": (_substring, (str, int, int), 2),
    "replace": (_replace, (str, str, str, int), 3),
    "split": (_split, (str, str, int), 2),
    "join": (_join, (list, str), 1),
}
"""Each with the types of its operands and how many of them there must be."""


def fits(function: str, given: tuple[Value, ...]) -> bool:
    """Whether the operands are of the types that the function takes."""
    _, expected, _ = TEXT_FUNCTIONS[function]
    if not all(type(value) is type_ for value, type_ in zip(given, expected, strict=False)):
        return False
    return function != "join" or all(type(item) is str for item in given[0])
