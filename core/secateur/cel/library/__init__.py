"""The functions of the language, each in one place: declared, typed, bound in Python and written as SQL.

The checker, both executions, the database's vocabulary and the completion take them from `FUNCTIONS`. A new function
is one `CelFunction` in the module of its subject. Importing this loads no regular expressions of RE2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from secateur.cel.library.conversions import CONVERSIONS
from secateur.cel.library.function import CelFunction, Overload, usages
from secateur.cel.library.strings import STRINGS, TESTS
from secateur.cel.library.times import TIMES

__all__ = ["FUNCTIONS", "MEANT", "CelFunction", "Overload", "usages"]

FUNCTIONS: Final[Mapping[str, CelFunction]] = {each.name: each for each in (*TESTS, *CONVERSIONS, *STRINGS, *TIMES)}
"""In the order in which completion offers them."""

MEANT: Final[Mapping[str, str]] = {name: each.name for each in FUNCTIONS.values() for name in each.elsewhere}
"""Functions as other languages call them, whose spelling does not tell which of ours it is."""
