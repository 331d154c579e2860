"""Regular expressions at random: what RE2 finds, Postgres finds by the translated pattern, or it is refused."""

from __future__ import annotations

from random import Random

import asyncpg

from secateur.cel import EvaluationError
from secateur.cel.patterns import matcher, translate

ATOMS = (
    *("a", "b", "A", ".", r"\d", r"\D", r"\w", r"\W", r"\s", r"\S", r"\b", r"\B", "^", "$", r"\A", r"\z", "[ab]"),
    *("[^a]", "[a-c]", "[[:alpha:]]", "[^[:digit:]b]", r"[\d_]", r"[\W]", "é", "ß", "ſ", "K", "k", r"\.", r"\n", r"\t"),
    *(r"\x41", r"\x{1F600}", r"\Qa.b\E", r"\pL", "[]a]", "[^]a]", r"[a\]b]", "[a-]", "[-a]", r"\101", r"\*", "-", "_"),
    *("{", "}", "😀", "0", "1", " ", "\n", r"\C", r"\/", r"[^\n]", r"\v", "[[:^space:]]", "[[:word:]]", r"[^\s\S]"),
)
GROUPS = ("(", "(?:", "(?i:", "(?s:", "(?m:", "(?-s:", "(?P<n>", "(?U:", "(?im-s:")
FLAGS = ("(?i)", "(?s)", "(?m)", "(?U)", "(?-i)")
REPEATS = ("*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{0,1}", "{2,}", "{,2}", "{0}", "{0,0}?")
TEXTS = (
    *(
        "",
        "a",
        "b",
        "ab",
        "A",
        "aB",
        "a\nb",
        "\n",
        "\na",
        "a\n",
        "é",
        "É",
        "ß",
        "ſ",
        "\u212a",
        "k",
        "s",
        "S",
        "0",
        "10",
    ),
    *("a1", "a b", " ", "_", "a.b", "😀", "a😀", "\r", "\r\n", "\t", "\x0b", "\u00a0", "\u0661", "\u2028", "a-b", "]"),
    *("aab", "abab", "{", "ΑΩ", "ς", "\u0130", "ı", "aaa", "x", "\x7f", "\x01"),
)


def pattern(random: Random, depth: int) -> str:
    choice = random.randrange(10)
    if depth == 0 or choice < 4:
        return random.choice(ATOMS)
    inner = pattern(random, depth - 1)
    if choice < 6:
        return f"{random.choice(GROUPS)}{inner})"
    if choice == 6:
        return f"{inner}|{pattern(random, depth - 1)}"
    if choice == 7:
        return inner + random.choice(REPEATS)
    return inner + pattern(random, depth - 1) if choice == 8 else random.choice(FLAGS) + inner


async def test_postgres_finds_what_re2_finds(database_url: str) -> None:
    random = Random(20240121)
    connection = await asyncpg.connect(database_url)
    differences, tried = [], 0
    try:
        for _ in range(800):
            source = pattern(random, random.randint(1, 4))
            try:
                search = matcher(source)
            except EvaluationError:
                continue
            tried += 1
            found = await connection.fetchval(
                "select array_agg(one ~ $1 order by place) from unnest($2::text[]) with ordinality as x (one, place)",
                translate(source),
                TEXTS,
            )
            differences += [(source, text) for text, said in zip(TEXTS, found, strict=True) if said is not search(text)]
    finally:
        await connection.close()
    assert differences == []
    assert tried > 500
