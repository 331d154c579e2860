"""Expressions over runs: one meaning, as SQL and in Python.

The subset of the Common Expression Language that filters are written in. `compile` takes a source through the
stages parse, check, generate and compile for Python. Nothing here does I/O. Importing this package loads nothing of
it: the first screen needs no more than its values.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from secateur.cel.declarations import CANCEL_ON, CANCELLATION, SEARCH, Declarations
    from secateur.cel.diagnostics import Diagnostic, EvaluationError, ExpressionError, Fix
    from secateur.cel.filters import Filter
    from secateur.cel.sql.generator import Condition
    from secateur.cel.sql.vocabulary import VOCABULARY
    from secateur.cel.syntax.ast import Span
    from secateur.cel.syntax.scanner import highlight

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

COMPILER_VERSION = 4
"""Raised whenever the same source would become other SQL."""


_HOMES = {
    "CANCELLATION": "secateur.cel.declarations",
    "CANCEL_ON": "secateur.cel.declarations",
    "Condition": "secateur.cel.sql.generator",
    "Declarations": "secateur.cel.declarations",
    "Diagnostic": "secateur.cel.diagnostics",
    "EvaluationError": "secateur.cel.diagnostics",
    "ExpressionError": "secateur.cel.diagnostics",
    "Filter": "secateur.cel.filters",
    "Fix": "secateur.cel.diagnostics",
    "SEARCH": "secateur.cel.declarations",
    "Span": "secateur.cel.syntax.ast",
    "VOCABULARY": "secateur.cel.sql.vocabulary",
    "highlight": "secateur.cel.syntax.scanner",
}


def compile(source: str, declarations: Declarations | None = None) -> Filter:
    """Compile a filter, of a cancellation if nothing else is said. Raises `ExpressionError` with everything that is
    wrong with it.
    """
    from secateur.cel.declarations import CANCELLATION
    from secateur.cel.filters import compile_filter

    return compile_filter(source, declarations or CANCELLATION)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
