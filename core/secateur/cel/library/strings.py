"""Functions of texts. Positions and lengths count code points.

They mean what they mean in the standard's widespread extension; where its implementations differ, in Google's.
"""

from __future__ import annotations

from secateur.cel import messages as say
from secateur.cel.diagnostics import EvaluationError
from secateur.cel.library.function import CelFunction, of, on
from secateur.cel.limits import check_items, check_text
from secateur.cel.types import BOOL, INT, STRING, list_of
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


def _matches(text: str, pattern: str) -> bool:
    from secateur.cel.patterns import matcher

    return matcher(pattern)(text)


def _read_pattern(pattern: str) -> object:
    from secateur.cel.patterns import translate

    return translate(pattern)


_TWO = (STRING, STRING)

TESTS = (
    CelFunction("startsWith", on(BOOL, _TWO), python=str.startswith, sql="starts_with({0}, {1})"),
    CelFunction("endsWith", on(BOOL, _TWO), python=str.endswith, sql="right({0}, length({1})) = {1}"),
    CelFunction(
        "contains",
        on(BOOL, _TWO),
        python=lambda text, part: part in text,
        sql="strpos({0}, {1}) > 0",
        elsewhere=("includes", "has_substring"),
    ),
    CelFunction(
        "matches",
        (*on(BOOL, _TWO), *of(BOOL, _TWO)),
        python=_matches,
        sql=None,
        reads=_read_pattern,
        not_literal=say.PATTERN_NOT_LITERAL,
        elsewhere=("regex", "match", "test"),
    ),
)

STRINGS = (
    CelFunction(
        "lowerAscii",
        on(STRING, (STRING,)),
        python=lambda text: text.translate(_TO_LOWER),
        sql="secateur_cel.lower_v1({0})",
        elsewhere=("lower", "toLower", "toLowerCase", "tolower"),
    ),
    CelFunction(
        "upperAscii",
        on(STRING, (STRING,)),
        python=lambda text: text.translate(_TO_UPPER),
        sql="secateur_cel.upper_v1({0})",
        elsewhere=("upper", "toUpper", "toUpperCase", "toupper"),
    ),
    CelFunction(
        "trim",
        on(STRING, (STRING,)),
        python=lambda text: text.strip(SPACES),
        sql="secateur_cel.trim_v1({0})",
        elsewhere=("strip", "trimSpace"),
    ),
    CelFunction("reverse", on(STRING, (STRING,)), python=lambda text: text[::-1], sql="reverse({0})"),
    CelFunction("charAt", on(STRING, (STRING, INT)), python=_char_at, sql="secateur_cel.char_at_v1({0}, {1})"),
    CelFunction(
        "indexOf",
        on(INT, _TWO, (*_TWO, INT)),
        python=_index_of,
        sql="secateur_cel.index_of_v1({all})",
        defaults=(0,),
    ),
    CelFunction(
        "lastIndexOf",
        on(INT, _TWO, (*_TWO, INT)),
        python=_last_index_of,
        sql="secateur_cel.last_index_of_v1({all})",
    ),
    CelFunction(
        "substring",
        on(STRING, (STRING, INT), (STRING, INT, INT)),
        python=_substring,
        sql="secateur_cel.substring_v1({all})",
        elsewhere=("substr", "slice"),
    ),
    CelFunction(
        "replace",
        on(STRING, (*_TWO, STRING), (*_TWO, STRING, INT)),
        python=_replace,
        sql="secateur_cel.replace_v1({all})",
        defaults=(-1,),
    ),
    CelFunction(
        "split",
        on(list_of(STRING), _TWO, (*_TWO, INT)),
        python=_split,
        sql="secateur_cel.split_v1({all})",
        defaults=(-1,),
    ),
    CelFunction(
        "join",
        on(STRING, (list_of(STRING),), (list_of(STRING), STRING)),
        python=_join,
        sql="secateur_cel.join_v1({all})",
        defaults=("",),
    ),
)
