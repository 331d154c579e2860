"""Which decimal numbers are nearest to a double.

Postgres compares a payload's digits exactly; the language compares the nearest double. Both agree when a
literal is replaced by the ends of the interval of numbers that round to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

_BEYOND = Fraction(2) ** 1024
"""What the next double after the largest one would be; half-way to it begins infinity."""


@dataclass(frozen=True, slots=True)
class Rounding:
    """Every number between the two ends (including the ends if `closed`) is nearest to the double."""

    low: str
    high: str
    closed: bool


def rounding_to(value: float) -> Rounding:
    """Raises ValueError for a value that is not finite."""
    if not math.isfinite(value):
        raise ValueError("not finite")
    exact = Fraction(value)
    below, above = math.nextafter(value, -math.inf), math.nextafter(value, math.inf)
    low = (exact + (Fraction(below) if math.isfinite(below) else -_BEYOND)) / 2
    high = (exact + (Fraction(above) if math.isfinite(above) else _BEYOND)) / 2
    return Rounding(_decimal(low), _decimal(high), closed=_mantissa_is_even(value))


def _mantissa_is_even(value: float) -> bool:
    """A number half-way between two doubles goes to the even one."""
    return int(value.hex().partition("p")[0][-1], 16) % 2 == 0


def _decimal(value: Fraction) -> str:
    """All digits; the denominator is a power of two."""
    places = value.denominator.bit_length() - 1
    if places == 0:
        return str(value.numerator)
    scaled = abs(value.numerator) * 5**places
    digits = str(scaled).rjust(places + 1, "0")
    whole, fraction = digits[:-places], digits[-places:].rstrip("0")
    sign = "-" if value < 0 else ""
    if whole == "0" and len(fraction) - len(fraction.lstrip("0")) > 20:
        return f"{sign}{fraction.lstrip('0')}e-{len(fraction)}"
    return f"{sign}{whole}.{fraction}"
