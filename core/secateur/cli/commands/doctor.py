"""`doctor`: what is wrong with the database, the schema and this machine, and what to do about it."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator
from dataclasses import asdict

from secateur.cli.exits import ERRORS, WARNINGS
from secateur.cli.opening import config_file, find_place
from secateur.cli.output import BOLD, RED, YELLOW, flush, json_line, line, styled, terminal_width
from secateur.doctor import Finding, Severity, examine, worst
from secateur.words.lines import one_line

EXIT_CODES = {Severity.WARNING: WARNINGS, Severity.ERROR: ERRORS}
"""By the worst finding; 0 for everything else."""

WIDTH = 80
WIDEST = 100

_STYLES = {Severity.UNSEEN: BOLD, Severity.WARNING: YELLOW, Severity.ERROR: RED}


async def doctor(arguments: argparse.Namespace) -> int:
    place = find_place(arguments)
    findings = []
    async for each in examine(place.settings, place.target, config_file(arguments)):
        findings.append(each)
        if not arguments.json:
            for text in _lines(each):
                line(text)
            flush()
    found = worst(findings)
    if arguments.json:
        json_line({"worst": found, "findings": [asdict(each) for each in findings]})
    else:
        line(_summary(findings))
    return EXIT_CODES.get(found, 0)


def _lines(found: Finding) -> Iterator[str]:
    width = min(terminal_width() or WIDTH, WIDEST)
    head = f"{found.severity:<8} {found.check:<13}"
    indent = " " * len(head)
    text = textwrap.wrap(
        one_line(found.summary), max(20, width - len(head)), break_long_words=False, break_on_hyphens=False
    )
    style = _STYLES.get(found.severity)
    yield (styled(head, style) if style else head) + (text[0] if text else "")
    yield from (indent + each for each in text[1:])
    if found.what_to_do:
        advice = textwrap.wrap(
            f"→ {one_line(found.what_to_do)}",
            max(20, width - len(head)),
            break_long_words=False,
            break_on_hyphens=False,
        )
        yield from (indent + each for each in advice)


def _summary(findings: list[Finding]) -> str:
    counts = {each: sum(found.severity is each for found in findings) for each in reversed(Severity)}
    return ", ".join(f"{count} {severity}" for severity, count in counts.items() if count)
