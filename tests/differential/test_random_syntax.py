"""Sources at random, most of them wrong: what is an expression to Google's parser is one to ours."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from random import Random
from typing import Any

import pytest
from google_cel import GoogleCel
from strategies import KINDS, expression

from secateur.cel import messages as say
from secateur.cel.diagnostics import Reporter
from secateur.cel.syntax.ast import Invalid
from secateur.cel.syntax.parser import parse

TOKENS = (
    *("a", "b", "event", ".", "(", ")", "[", "]", "{", "}", ",", ":", "?", "1", "1u", "1.", ".5", "1e3", "0x1F", "0x"),
    *("-", "-", "!", "!", "+", "*", "/", "%", "&&", "||", "==", "=", "<", "<=", "in", "true", "null", '"a"', "b'a'"),
    *(
        "`a`",
        "`a-b`",
        "if",
        "as",
        "has",
        "has(a.b)",
        "all",
        "exists(x,",
        "x",
        '"""a"""',
        "//c\n",
        "\n",
        " ",
        "1uu",
        "00",
    ),
    *("01", "1e", "1.5e-3", r'"\q"', r'"\x4"', r'"\400"', r'"\u00"', 'rb"a"', 'br"a"', 'u"a"', '"a\n"', "'''a\n'''"),
    *(";", "@", "\\", "$", "#", "~", "^", "|", "&", "?.", "::", "->", "{}", "[]", "a.b", "while", "package", "_", "is"),
    *(r'"\U0001F600"', r'"\ud800"', "1.e3", "1.0f", "1L", ".5u", "--1", "!-1", "-!a", r"b'\u00e9'", r"'\`'", "a.`b`.c"),
    *(
        "null.a",
        "1.a",
        "a.in",
        "a.if",
        "a.true",
        "a[b",
        "a ? b : c",
        "a,",
        "[a,]",
        "[,]",
        "{a:1,}",
        "{,}",
        "f(a,)",
        "if()",
    ),
)


def source(random: Random) -> str:
    if random.random() < 0.4:
        return "".join(random.choice(("", " ")) + random.choice(TOKENS) for _ in range(random.randint(1, 6)))
    text = expression(random, random.choice(KINDS), random.randint(1, 2), ())
    for _ in range(random.randint(1, 2)):
        place = random.randrange(len(text) + 1)
        end = place + random.randrange(3)
        text = text[:place] + (random.choice(TOKENS) if random.random() < 0.7 else "") + text[end:]
    return text


def why_not(text: str) -> str | None:
    """What our parser has against it."""
    reporter = Reporter(text)
    parsed = parse(text, reporter)
    return _invalid(parsed) if parsed is not None else reporter.diagnostics[0].message


def _invalid(part: Any) -> str | None:
    if isinstance(part, Invalid):
        return part.message
    parts = part if isinstance(part, tuple) else ()
    if is_dataclass(part):
        parts = tuple(getattr(part, known.name) for known in fields(part))
    return next(filter(None, map(_invalid, parts)), None)


def _is_expected(text: str, reason: str | None) -> bool:
    """Messages are not part of the language, 2^63 is found out by the checker, and Google's stumbles over r"\\"."""
    message = reason == say.MESSAGES_NOT_SUPPORTED or "{a:1,}" in text or "{,}" in text
    return message or "9223372036854775808" in text or 'r"\\"' in text or "r'\\'" in text


def test_googles_parser_agrees() -> None:
    google = GoogleCel.if_installed()
    if google is None:
        pytest.skip("cel-expr-python is not installed")
    random = Random(20240121)
    differences, accepted = [], 0
    for _ in range(4_000):
        text = source(random)
        reason = why_not(text)
        accepted += reason is None
        if (reason is None) is not google.parses(text) and not _is_expected(text, reason):
            differences.append((text, reason))
    assert differences == []
    assert accepted > 500
