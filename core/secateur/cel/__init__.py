"""Expressions over runs: one meaning, as SQL and in Python.

The subset of the Common Expression Language that filters are written in. `compile` takes a source through the
stages parse, check, generate and compile for Python. Nothing here does I/O, and importing this package loads
neither the parser nor the regular expressions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from secateur.cel.declarations import CANCEL_ON, CANCELLATION, SEARCH, Declarations
from secateur.cel.diagnostics import Diagnostic, EvaluationError, ExpressionError, Fix
from secateur.cel.sql.vocabulary import VOCABULARY
from secateur.cel.syntax.ast import Span
from secateur.cel.syntax.scanner import highlight

if TYPE_CHECKING:
    from secateur.cel.filters import Filter
    from secateur.cel.sql.generator import Condition

__all__ = [
    "CANCELLATION",
    "CANCEL_ON",
    "COMPILER_VERSION",
    "SEARCH",
    "VOCABULARY",
    "Condition",
    "Declarations",
    "Diagnostic",
    "EvaluationError",
    "ExpressionError",
    "Filter",
    "Fix",
    "Span",
    "compile",
    "highlight",
]

COMPILER_VERSION = 3
"""Raised whenever the same source would become other SQL."""


def compile(source: str, declarations: Declarations = CANCELLATION) -> Filter:
    """Compile a filter. Raises `ExpressionError` with everything that is wrong with it."""
    from secateur.cel.filters import compile_filter

    return compile_filter(source, declarations)


def __getattr__(name: str) -> object:
    if name == "Filter":
        from secateur.cel import filters

        return filters.Filter
    if name == "Condition":
        from secateur.cel.sql import generator

        return generator.Condition
    raise AttributeError(name)
