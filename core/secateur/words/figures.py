"""Numbers, rates and durations as people read them."""

from __future__ import annotations

from datetime import UTC, datetime


def number(value: int) -> str:
    return f"{value:,}"


def runs(value: int) -> str:
    """`1 run`, `2,000 runs`."""
    return f"{number(value)} run" if value == 1 else f"{number(value)} runs"


def about(guess: int, low: int | None, high: int | None) -> tuple[str, str]:
    """An estimate rounded to the digits that its interval justifies, and the interval, which is only ever widened.

    `about(75_112, 74_318, 75_877)` is `("75,100", "74,300 – 75,900")`; without an interval the second is empty.
    """
    if low is None or high is None:
        return number(guess), ""
    unit = 10 ** max(0, len(str(high - low)) - 2)
    rounded = (guess + unit // 2) // unit * unit
    return number(rounded), f"{number(low // unit * unit)} – {number(-(-high // unit) * unit)}"


def percentage(share: float) -> str:
    """`29.4 %`; never 0 or 100 unless it is exactly that."""
    if share in (0.0, 1.0):
        return f"{share * 100:.0f} %"
    return "< 0.1 %" if share < 0.001 else "> 99.9 %" if share > 0.999 else f"{share * 100:.1f} %"


def rate(per_second: float) -> str:
    """Two significant digits are enough for a rate."""
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.1f}"


def change(per_second: float) -> str:
    """A rate with its sign: `+41.4`, `−3.0`; `±0.0` for what would be written as nothing."""
    shown = rate(abs(per_second))
    return f"{'±' if shown == '0.0' else '+' if per_second > 0 else '−'}{shown}"


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
    """`just now`, `40 s ago`, `2h 14m ago`; a date after a week."""
    seconds = (now - moment).total_seconds()
    if seconds < 5:
        return "just now"
    if seconds < 7 * 86_400:
        return f"{duration(seconds)} ago"
    return f"{moment.astimezone(UTC):%Y-%m-%d}"
