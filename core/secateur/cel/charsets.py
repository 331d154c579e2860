"""Sets of characters, as a bracket expression of Postgres writes them."""

from __future__ import annotations

from dataclasses import dataclass

TOP = 0x10FFFF
_FOLDS_INTO_ASCII = {ord("k"): 0x212A, ord("s"): 0x017F}
"""The Kelvin sign and the long s are, to RE2, cases of `k` and `s`."""


@dataclass(frozen=True, slots=True)
class Charset:
    """Inclusive ranges of code points."""

    ranges: tuple[tuple[int, int], ...]

    def union(self, other: Charset) -> Charset:
        merged: list[tuple[int, int]] = []
        for low, high in sorted((*self.ranges, *other.ranges)):
            if merged and low <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
            else:
                merged.append((low, high))
        return Charset(tuple(merged))

    def negated(self) -> Charset:
        gaps, start = [], 0
        for low, high in self.union(Charset(())).ranges:
            if low > start:
                gaps.append((start, low - 1))
            start = high + 1
        if start <= TOP:
            gaps.append((start, TOP))
        return Charset(tuple(gaps))

    def folded(self) -> Charset | None:
        """With every letter's other case; None where letters beyond ASCII would need it too."""
        if any(_cased(max(low, 128), high) for low, high in self.ranges if high > 127):
            return None
        extra = [code for low, high in self.ranges for code in range(low, min(high, 127) + 1)]
        cases = [ord(chr(code).swapcase()) for code in extra if chr(code).isalpha()]
        cases += [_FOLDS_INTO_ASCII[code] for code in (*extra, *cases) if code in _FOLDS_INTO_ASCII]
        return self.union(Charset(tuple((code, code) for code in cases)))

    def sql(self) -> str:
        """As a piece of a Postgres pattern. Postgres has no U+0000, so a set loses it."""
        if self.ranges == ((0, TOP),):
            return "."
        negative = bool(self.ranges) and self.ranges[-1][1] == TOP
        ranges = (self.negated() if negative else self).ranges
        ranges = tuple((max(low, 1), high) for low, high in ranges if high >= 1)
        if not ranges:
            return "." if negative else f"[^{_written(1)}-{_written(TOP)}]"
        if not negative and len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
            return _written(ranges[0][0])
        parts = (_written(low) if low == high else f"{_written(low)}-{_written(high)}" for low, high in ranges)
        return f"[{'^' if negative else ''}{''.join(parts)}]"


def _cased(low: int, high: int) -> bool:
    if high - low > 2_000:
        return True
    characters = map(chr, range(low, high + 1))
    return any(character != character.lower() or character != character.upper() for character in characters)


def _written(code: int) -> str:
    character = chr(code)
    if character.isascii() and character.isalnum():
        return character
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"


def _of(*ranges: str) -> Charset:
    return Charset(tuple((ord(text[0]), ord(text[-1])) for text in ranges)).union(Charset(()))


DIGITS = _of("09")
SPACES = _of("\t\n", "\f\r", " ")
WORDS = _of("09", "AZ", "__", "az")
CLASSES = {
    "alnum": _of("09", "AZ", "az"),
    "alpha": _of("AZ", "az"),
    "ascii": _of("\0\x7f"),
    "blank": _of("\t", " "),
    "cntrl": _of("\0\x1f", "\x7f"),
    "digit": DIGITS,
    "graph": _of("!~"),
    "lower": _of("az"),
    "print": _of(" ~"),
    "punct": _of("!/", ":@", "[`", "{~"),
    "space": _of("\t\r", " "),
    "upper": _of("AZ"),
    "word": WORDS,
    "xdigit": _of("09", "AF", "af"),
}
