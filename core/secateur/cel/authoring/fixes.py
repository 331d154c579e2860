"""Applies the suggestion of a diagnostic to the source."""

from __future__ import annotations

import re
from collections.abc import Iterator

from secateur.cel.checker import check_filter
from secateur.cel.declarations import CANCELLATION, Declarations
from secateur.cel.diagnostics import Diagnostic, Reporter
from secateur.cel.syntax.ast import Span
from secateur.cel.syntax.scanner import scan

_TEXT = re.compile(
    r"write the whole expression as `(?P<whole>.+)`(?: if you mean .*)?"
    r"|did you mean `(.+)`\?|write `(.+?)`(?: if you mean .*)?|write ('.+') if you mean the text",
    re.DOTALL,
)
"""The forms in which suggestions name the text to write."""


def fix(source: str, diagnostic: Diagnostic, declarations: Declarations = CANCELLATION) -> str | None:
    """The source with the suggestion applied; None if there is none, or if it would not help."""
    match = _TEXT.fullmatch(diagnostic.suggestion or "")
    if match is None:
        return None
    text: str = next(group for group in match.groups() if group)
    if match["whole"]:
        return text if _helps(source, text, diagnostic, declarations) else None
    for place in _places(source, diagnostic):
        fixed: str = source[: place.start] + text + source[place.end :]
        if fixed != source and _helps(source, fixed, diagnostic, declarations):
            return fixed
    return None


def _places(source: str, diagnostic: Diagnostic) -> Iterator[Span]:
    """What the text may replace: the marked place or, for an operator, one of its operands."""
    span = diagnostic.span
    yield span
    tokens = [token for token in scan(source) if token.kind != "comment"]
    for place, token in enumerate(tokens):
        if token.start == span.start and place > 0 and tokens[place - 1].text == ".":
            yield Span(tokens[place - 1].start, span.end)
        if token.start == span.start and token.kind == "operator":
            yield from (Span(each.start, each.end) for each in tokens[max(0, place - 1) : place + 2] if each != token)


def _helps(source: str, fixed: str, diagnostic: Diagnostic, declarations: Declarations) -> bool:
    """Whether that error is gone and the text is valid at least as far as before."""
    parsed, before = _errors(source, declarations)
    parses, after = _errors(fixed, declarations)
    if diagnostic.severity == "warning":
        return not after
    if parsed:
        return parses and len(after) < len(before)
    return parses or after[0].span.start > diagnostic.span.start


def _errors(source: str, declarations: Declarations) -> tuple[bool, tuple[Diagnostic, ...]]:
    """Whether the text can be parsed, and all of its errors."""
    from secateur.cel.syntax.parser import parse

    reporter = Reporter(source)
    parsed = parse(source, reporter)
    if parsed is not None:
        check_filter(parsed, declarations, reporter)
    return parsed is not None, reporter.ordered("error")
