"""Regular expressions: RE2's syntax, in the part that means the same in Postgres.

RE2 itself decides what is a pattern and, in Python, what matches. For Postgres the pattern is written anew
with explicit character sets, since there `.`, `\\d`, `\\w`, `\\b` and case folding mean something else. Only
whether something matches counts, so groups need not capture and a lazy repetition is a plain one. What cannot
be written with the same meaning, or would be too large for Postgres, is refused in both.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

import re2

from secateur.cel import messages as say
from secateur.cel.charsets import CLASSES, DIGITS, SPACES, TOP, WORDS, Charset
from secateur.cel.diagnostics import EvaluationError, Suggestion

MAX_LENGTH = 1_000
MAX_REPEAT = 255
MAX_SIZE = 1_000
"""Characters and sets once every counted repetition is written out."""

_WORD = "[0-9A-Za-z_]"
_BOUNDARY = f"(?:(?<={_WORD})(?!{_WORD})|(?<!{_WORD})(?={_WORD}))"
_NO_BOUNDARY = f"(?:(?<={_WORD})(?={_WORD})|(?<!{_WORD})(?!{_WORD}))"
_ASSERTIONS = {r"\A": "^", r"\z": "$", r"\b": _BOUNDARY, r"\B": _NO_BOUNDARY}
_SHORTHANDS = {"d": DIGITS, "s": SPACES, "w": WORDS}
_CONTROLS = {"a": 7, "f": 12, "t": 9, "n": 10, "r": 13, "v": 11}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|x\{([0-9a-fA-F]{1,6})\}|([0-7]{1,3})|(.))", re.DOTALL)
_COUNT = re.compile(r"\{(\d{1,4})(,(\d{0,4}))?\}")
_GROUP = re.compile(r"\(\?(?:P?<\w+>|([imsU]*)(?:-([imsU]+))?([:)]))")


_UNICODE_CLASS = re.compile(r"\\([pP])(?:\{(\^?)(\w+)\}|(\w))")
_MEANT = {
    "L": "A-Za-zÀ-ÖØ-öø-ɏ",
    "Lu": "A-ZÀ-ÖØ-Þ",
    "Ll": "a-zß-öø-ÿ",
    **dict.fromkeys(("N", "Nd"), "0-9"),
    **dict.fromkeys(("Z", "Zs"), r"\s\x{A0}"),
    "P": "[:punct:]",
    "S": "$+<=>^`|~",
    "Greek": "Ͱ-Ͽ",
    "Cyrillic": "Ѐ-ӿ",
    "Hebrew": "\u0590-\u05ff",
    "Arabic": "\u0600-\u06ff",
    "Latin": "A-Za-zÀ-ÖØ-öø-ɏ",
    "Han": "一-鿿",
    "Hiragana": "ぁ-ゟ",
    "Katakana": "゠-ヿ",
    "Hangul": "가-힣",
    "Thai": "ก-๛",
}
"""What people mostly want of a class of Unicode, in brackets. The whole of `L` has 660 ranges, and others with each
version of Unicode, so that RE2's next release would match other runs than a stored condition does."""


class PatternError(ValueError):
    """The pattern cannot be used; the message says why, and `hint`, if there is one, what to write."""

    def __init__(self, message: str, hint: Suggestion | None = None) -> None:
        super().__init__(message)
        self.hint = hint


@lru_cache(maxsize=256)
def translate(pattern: str) -> str:
    """The pattern for Postgres's `~`."""
    if len(pattern) > MAX_LENGTH:
        raise PatternError(say.pattern_too_long(MAX_LENGTH))
    if "\0" in pattern:
        raise PatternError(say.NUL_CHARACTER)
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0]
        raise PatternError(say.not_a_pattern(reason.decode() if isinstance(reason, bytes) else str(reason))) from None
    translator = _Translator(pattern)
    sql, size = translator.alternatives(frozenset())
    if size > MAX_SIZE:
        raise PatternError(say.PATTERN_TOO_LARGE)
    return sql


@lru_cache(maxsize=256)
def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether the pattern occurs in a text, in time linear in the text. Raises `EvaluationError`."""
    try:
        translate(pattern)
    except PatternError as error:
        raise EvaluationError(f"{error}; {error.hint.message}" if error.hint else str(error)) from None
    options = re2.Options()
    options.log_errors = False
    compiled = re2.compile(pattern, options)
    return lambda text: compiled.search(text) is not None


class _Translator:
    """Recursive descent over a pattern that RE2 has accepted; every method returns SQL and size."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._position = 0
        self._depth = 0

    def alternatives(self, flags: frozenset[str]) -> tuple[str, int]:
        branches, total = [], 0
        current: list[str] = []
        while self._position < len(self._pattern) and self._peek() != ")":
            if self._peek() == "|":
                self._position += 1
                branches.append("".join(current))
                current = []
                continue
            if (changed := self._flags(flags)) is not None:
                flags = changed
                continue
            sql, size = self._repeated(flags)
            current.append(sql)
            total += size
            if total > MAX_SIZE:
                raise PatternError(say.PATTERN_TOO_LARGE)
        branches.append("".join(current))
        return "|".join(branches), total

    def _peek(self, width: int = 1) -> str:
        return self._pattern[self._position : self._position + width]

    def _flags(self, flags: frozenset[str]) -> frozenset[str] | None:
        """`(?i)` in the middle: holds to the end of the group."""
        match = _GROUP.match(self._pattern, self._position)
        if match is None or match[3] != ")":
            return None
        self._position = match.end()
        return (flags | set(match[1] or "")) - set(match[2] or "")

    def _repeated(self, flags: frozenset[str]) -> tuple[str, int]:
        atom, size, is_position = self._atom(flags)
        least, most = 1, 1
        repeats = 0
        while True:
            sign = self._peek()
            counted = _COUNT.match(self._pattern, self._position)
            if sign in ("*", "+", "?") and sign:
                self._position += 1
                suffix, times = sign, 1
            elif counted:
                self._position = counted.end()
                least, most = int(counted[1]), int(counted[3] or counted[1])
                if max(least, most) > MAX_REPEAT:
                    raise PatternError(say.pattern_repeats(MAX_REPEAT))
                suffix, times = counted[0], max(least, most, 1)
            else:
                return atom, size
            if is_position or repeats:
                raise PatternError(say.PATTERN_REPEATS_POSITION if is_position else say.PATTERN_DOUBLE_REPEAT)
            if self._peek() == "?":
                self._position += 1
            atom, size, repeats = f"{atom}{suffix}", size * times, repeats + 1

    def _atom(self, flags: frozenset[str]) -> tuple[str, int, bool]:
        character = self._peek()
        if character == "(":
            return self._group(flags)
        if character == "[":
            return self._class(flags).sql(), 1, False
        if character == ".":
            self._position += 1
            everything = Charset(((0, TOP),))
            return (everything if "s" in flags else Charset(((10, 10),)).negated()).sql(), 1, False
        if character in "^$":
            self._position += 1
            return self._line_end(character, flags), 1, True
        if character == "\\":
            return self._escape(flags)
        self._position += 1
        return self._character(ord(character), flags).sql(), 1, False

    def _line_end(self, character: str, flags: frozenset[str]) -> str:
        if "m" not in flags:
            return character
        return r"(?:^|(?<=\n))" if character == "^" else r"(?:$|(?=\n))"

    def _character(self, code: int, flags: frozenset[str]) -> Charset:
        if code == 0:
            raise PatternError(say.NUL_CHARACTER)
        return self._cases(Charset(((code, code),)), flags)

    def _cases(self, charset: Charset, flags: frozenset[str]) -> Charset:
        folded = charset.folded() if "i" in flags else charset
        if folded is None:
            raise PatternError(say.PATTERN_FOLDS)
        return folded

    def _group(self, flags: frozenset[str]) -> tuple[str, int, bool]:
        match = _GROUP.match(self._pattern, self._position)
        self._position = match.end() if match else self._position + 1
        self._depth += 1
        if self._depth > 50:
            raise PatternError(say.PATTERN_TOO_LARGE)
        if match:
            flags = (flags | set(match[1] or "")) - set(match[2] or "")
        inner, size = self.alternatives(flags)
        self._position += 1
        self._depth -= 1
        return f"(?:{inner})", max(size, 1), False

    def _escape(self, flags: frozenset[str]) -> tuple[str, int, bool]:
        two = self._peek(2)
        if two == r"\Q":
            return self._quoted(flags)
        if two in _ASSERTIONS:
            self._position += 2
            return _ASSERTIONS[two], 4, True
        if two[1:].lower() in _SHORTHANDS:
            self._position += 2
            return self._shorthand(two[1], flags).sql(), 1, False
        return self._character(self._code(), flags).sql(), 1, False

    def _quoted(self, flags: frozenset[str]) -> tuple[str, int, bool]:
        end = self._pattern.find(r"\E", self._position + 2)
        text = self._pattern[self._position + 2 : end if end >= 0 else None]
        self._position = len(self._pattern) if end < 0 else end + 2
        if self._peek() in ("*", "+", "?", "{") and self._peek():
            raise PatternError(say.PATTERN_QUOTED_REPEAT)
        return "".join(self._character(ord(character), flags).sql() for character in text), len(text), False

    def _shorthand(self, letter: str, flags: frozenset[str]) -> Charset:
        charset = self._cases(_SHORTHANDS[letter.lower()], flags)
        return charset if letter.islower() else charset.negated()

    def _code(self) -> int:
        match = _ESCAPE.match(self._pattern, self._position)
        if match is None:
            raise PatternError(say.pattern_escape("\\"))
        if found := _UNICODE_CLASS.match(self._pattern, self._position):
            negated = (found[1] == "P") != (found[2] == "^")
            meant = _MEANT.get(found[3] or found[4], _MEANT["L"])
            raise PatternError(say.pattern_class(found[0]), say.list_characters(f"{'^' if negated else ''}{meant}"))
        self._position = match.end()
        if match[1] or match[2]:
            return int(match[1] or match[2], 16)
        if match[3]:
            return int(match[3], 8)
        if match[4] in _CONTROLS:
            return _CONTROLS[match[4]]
        if match[4].isalnum():
            raise PatternError(say.pattern_escape(match[0]))
        return ord(match[4])

    def _class(self, flags: frozenset[str]) -> Charset:
        self._position += 1
        negated = self._peek() == "^"
        self._position += negated
        charset, first = Charset(()), True
        while first or self._peek() != "]":
            first = False
            charset = charset.union(self._class_item(flags))
        self._position += 1
        return charset.negated() if negated else charset

    def _class_item(self, flags: frozenset[str]) -> Charset:
        if self._peek(2) == "[:":
            end = self._pattern.index(":]", self._position)
            name = self._pattern[self._position + 2 : end]
            self._position = end + 2
            charset = self._cases(CLASSES[name.lstrip("^")], flags)
            return charset.negated() if name[0] == "^" else charset
        two = self._peek(2)
        if two[0] == "\\" and two[1:].lower() in _SHORTHANDS:
            self._position += 2
            return self._shorthand(two[1], flags)
        first = self._class_code()
        if self._peek() == "-" and self._peek(2) != "-]":
            self._position += 1
            return self._cases(Charset(((first, self._class_code()),)), flags)
        return self._cases(Charset(((first, first),)), flags)

    def _class_code(self) -> int:
        if self._peek() == "\\":
            return self._code()
        self._position += 1
        return ord(self._pattern[self._position - 1])
