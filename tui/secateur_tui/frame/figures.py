"""Numbers, durations and texts as people read them; everything fits on one line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.cells import cell_len, set_cell_size

from secateur.instants import OddTime

_BLOCKS = "▁▂▃▄▅▆▇█"
_FLAT = 0.03
"""A change below this share of the largest value is drawn flat: it is noise, not a trend."""


def number(value: int) -> str:
    return f"{value:,}"


def runs(value: int) -> str:
    return f"{value:,} run" if value == 1 else f"{value:,} runs"


def about(guess: int, low: int | None, high: int | None) -> tuple[str, str]:
    """An estimate with no more digits than its interval bears out, and the interval, which is only ever widened.

    `about(75_112, 74_318, 75_877)` is `("75,100", "74,300 – 75,900")`; without an interval the second is empty.
    """
    if low is None or high is None:
        return number(guess), ""
    unit = 10 ** max(0, len(str(high - low)) - 2)
    rounded = (guess + unit // 2) // unit * unit
    return number(rounded), f"{number(low // unit * unit)} – {number(-(-high // unit) * unit)}"


def rate(per_second: float) -> str:
    """Two significant digits are enough for a rate."""
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.1f}"


def duration(seconds: float) -> str:
    """At most two units: `40 s`, `1m 22s`, `2h 14m`, `3d 4h`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3600}h"


def ago(moment: datetime, now: datetime) -> str:
    """`just now`, `40 s ago`, `2h 14m ago`; a date from a week on."""
    seconds = (now - moment).total_seconds()
    if seconds < 5:
        return "just now"
    if seconds < 7 * 86_400:
        return f"{duration(seconds)} ago"
    return f"{moment.astimezone(UTC):%Y-%m-%d}"


def instant(moment: datetime, digits: int = 6) -> str:
    """The instant in UTC, cut to so many digits of a second; fractions only where there are any."""
    if isinstance(moment, OddTime):
        return moment.text
    utc = moment.astimezone(UTC)
    fraction = f".{utc.microsecond:06}"[: 1 + digits].rstrip("0").rstrip(".") if utc.microsecond else ""
    return f"{utc:%Y-%m-%d %H:%M:%S}{fraction} UTC"


def one_line(text: str) -> str:
    """Text from outside on one line: control characters and line breaks become visible."""
    return "".join(character if character.isprintable() else "␤" if character == "\n" else "·" for character in text)


def shorten(text: str, limit: int = 200) -> str:
    """At most `limit` characters, the middle left out: names in a message may be of any length."""
    half = limit // 2
    return text if len(text) <= limit else f"{text[:half]}…{text[-half:]}"


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Exactly `width` cells: padded, or cut with an ellipsis."""
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, width - 1) + "…" if width > 0 else ""
    padding = " " * (width - length)
    return padding + text if right else text + padding


def sparkline(values: Sequence[float], width: int) -> str:
    """The newest `width` values, right-aligned; scaled between their minimum and maximum."""
    shown = list(values[-width:]) if width > 0 else []
    if not shown:
        return " " * max(0, width)
    low, high = min(shown), max(shown)
    if high - low <= high * _FLAT:
        bars = ("▁" if high == 0 else "▃") * len(shown)
    else:
        bars = "".join(_BLOCKS[round((value - low) / (high - low) * 7)] for value in shown)
    return bars.rjust(width)


def progress(share: float, width: int) -> str:
    """A bar of `width` cells that reads without colour."""
    filled = round(min(1.0, max(0.0, share)) * width)
    return "━" * filled + "─" * (width - filled)
