"""What is wrong with an expression, where, and what to write instead; and how that is shown under the source."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from secateur.cel.syntax.ast import Span
from secateur.errors import Problem, RequestError, SecateurError

LONGEST_EXCERPT = 160
"""Characters of a line that are shown. A generated expression may have thousands on one."""


@dataclass(frozen=True, slots=True)
class Fix:
    """One edit of the source: `text` takes the place of `span`."""

    span: Span
    text: str

    def apply(self, source: str) -> str:
        return source[: self.span.start] + self.text + source[self.span.end :]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What to write instead, in words, and the edit that writes it, if there is exactly one."""

    message: str
    fix: Fix | None = None


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing to say about an expression; `line` and `column` count from 1, in code points."""

    severity: Literal["error", "warning"]
    message: str
    span: Span
    line: int
    column: int
    suggestion: str | None = None
    fix: Fix | None = None
    """The edit that the suggestion describes."""

    def excerpt(self, source: str) -> str:
        """The line of the source, or of a long one what is around the place; with carets under it."""
        line, begin = _around(source.split("\n")[self.line - 1].rstrip("\r"), self.column - 1)
        padding = "".join("\t" if character == "\t" else " " * _width(character) for character in line[:begin])
        marked = line[begin : begin + self.span.end - self.span.start]
        return f"{line}\n{padding}{'^' * max(1, sum(map(_width, marked)))}"

    def render(self, source: str) -> str:
        """The message, its place and the suggestion, ready to print."""
        place = "\n".join(f"  {line}" for line in self.excerpt(source).split("\n"))
        hint = f"\n  {self.suggestion}" if self.suggestion else ""
        return f"{self.line}:{self.column}: {self.severity}: {self.message}\n{place}{hint}"


def _around(line: str, begin: int) -> tuple[str, int]:
    """The part of a line that is shown, and where the place begins in it."""
    if len(line) <= LONGEST_EXCERPT:
        return line, begin
    start = max(0, min(begin - LONGEST_EXCERPT // 2, len(line) - LONGEST_EXCERPT))
    end = start + LONGEST_EXCERPT
    before, after = "…" if start else "", "…" if end < len(line) else ""
    return f"{before}{line[start:end]}{after}", begin - start + len(before)


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


class ExpressionError(RequestError):
    """The expression cannot be used; `diagnostics` holds every problem, in the order of the source."""

    def __init__(self, source: str, diagnostics: Sequence[Diagnostic]) -> None:
        self.source = source
        self.diagnostics = tuple(diagnostics)
        super().__init__(
            [
                Problem(
                    field="if",
                    message=diagnostic.message,
                    line=diagnostic.line,
                    column=diagnostic.column,
                    suggestion=diagnostic.suggestion,
                    excerpt=diagnostic.excerpt(source),
                )
                for diagnostic in self.diagnostics
            ]
        )

    def render(self) -> str:
        return "\n".join(diagnostic.render(self.source) for diagnostic in self.diagnostics)


class EvaluationError(SecateurError):
    """The expression has no value for these variables; `span` says where in the source, if known."""

    def __init__(self, message: str, span: Span | None = None) -> None:
        self.message, self.span = message, span
        super().__init__(message)


class Reporter:
    """Collects the diagnostics of one source."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.diagnostics: list[Diagnostic] = []

    def error(self, span: Span, message: str, suggestion: Suggestion | None = None) -> None:
        self._add("error", span, message, suggestion)

    def warning(self, span: Span, message: str, suggestion: Suggestion | None = None) -> None:
        self._add("warning", span, message, suggestion)

    def _add(
        self, severity: Literal["error", "warning"], span: Span, message: str, suggestion: Suggestion | None
    ) -> None:
        line = self.source.count("\n", 0, span.start) + 1
        column = span.start - (self.source.rfind("\n", 0, span.start) + 1) + 1
        text, fix = (suggestion.message, suggestion.fix) if suggestion else (None, None)
        self.diagnostics.append(Diagnostic(severity, message, span, line, column, text, fix))

    def ordered(self, severity: Literal["error", "warning"]) -> tuple[Diagnostic, ...]:
        found = (diagnostic for diagnostic in self.diagnostics if diagnostic.severity == severity)
        return tuple(sorted(found, key=lambda diagnostic: (diagnostic.span.start, diagnostic.span.end)))

    def raise_errors(self) -> None:
        if errors := self.ordered("error"):
            raise ExpressionError(self.source, errors)
