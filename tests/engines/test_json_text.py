"""Text is jsonb where a cast would take it, and null everywhere else: no text raises."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from secateur.engines.foreign.json_text import DEEPEST, as_jsonb

JSON = (
    *("{}", "[]", "1", "-0", '"a"', "null", "true", "\t[]\n", '{"a":1,"a":2}', '{"":""}', '["",""]', '"é\x7f\u2028"'),
    ' [1, 2 , {"a" : [ ] } ] ',
    r'{"a":{"b":[1.5e10,0.1,1E5,1e+5,1e-5,"\u00e9","\ud83d\ude00","\\","\/","\\u0000"]}}',
    "[" * DEEPEST + "]" * DEEPEST,
)

NO_JSON = (
    *("", " ", "{", "[1,]", "[,1]", '{"a"}', '{"a":}', '{"a":1,}', "{a:1}", "{1:2}", "['a']", "[1 2]", "0 0", "0,0"),
    *("01", "1.", ".5", "+1", "--1", "- 1", "1e", "0x1", "1_000", "NaN", "[Infinity]", "tru", "truefalse", "[t rue]"),
    *('"a', 'a"', '"a""', '""""', '"""', '"\n"', '"\x01"', "\x01", "[\x01]", '["a" "b"]', '["a""b"]', '{"a":"b":"c"}'),
    *("[]]", "[[]", "{}{}", "[],[]", "{[]:0}", "{{}:0}", "x[1]", "[1]x", "\\", '"\\', r'["\x"]', r'["\u12"]'),
    # JSON, which jsonb does not hold
    *(r'["\u0000"]', r'["\ud800"]', r'["\ude00"]', r'["\ud83d\ud83d"]', f"[1{'0' * 200_000}]", "1e999999"),
)

NOT_PROVEN = ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), f"1{'0' * 300}", "1e9999")
"""JSON that only Postgres 16 and newer find out."""

CAST = """
create function pg_temp.cast_of(given text) returns jsonb language plpgsql as $$
begin return given::jsonb; exception when others then return null; end $$"""


@pytest.fixture
async def connection(empty_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute(CAST)
    yield connection
    await connection.close()


def forms(connection: asyncpg.Connection) -> Iterator[int]:
    """The versions whose form of the expression this server runs."""
    yield 150_000
    if connection.get_server_version().major >= 16:
        yield 160_000


async def taken(connection: asyncpg.Connection, texts: list[str], version: int) -> list[tuple[str | None, str | None]]:
    sql = f"""select ({as_jsonb("given.text", version)})::text as ours, pg_temp.cast_of(given.text)::text as theirs
                from unnest($1::text[]) with ordinality as given (text, nth) order by given.nth"""
    return [(row["ours"], row["theirs"]) for row in await connection.fetch(sql, texts)]


async def test_json_is_taken_as_a_cast_takes_it(connection: asyncpg.Connection) -> None:
    for version in forms(connection):
        for text, (ours, theirs) in zip(JSON, await taken(connection, list(JSON), version), strict=True):
            assert ours is not None, text
            assert ours == theirs, text


async def test_what_is_no_json_is_null(connection: asyncpg.Connection) -> None:
    for version in forms(connection):
        for text, (ours, theirs) in zip(NO_JSON, await taken(connection, list(NO_JSON), version), strict=True):
            assert ours is None, text[:50]
            assert theirs is None, text[:50]


async def test_what_cannot_be_proven_is_null(connection: asyncpg.Connection) -> None:
    for version in forms(connection):
        for ours, theirs in await taken(connection, list(NOT_PROVEN), version):
            assert theirs is not None
            assert ours in ((None,) if version < 160_000 else (theirs,))


ATOMS = (*'{}[],:"\\01-.tn', '"a"', "1e5", "true", "null", " ", "\n", r"\u0000", r"\ud83d", '""', "[]", '{"a":1}')


def damaged(draw: random.Random) -> str:
    """JSON with up to three places changed, or a mere sequence of its signs."""
    if draw.random() < 0.4:
        return "".join(draw.choice(ATOMS) for _ in range(draw.randrange(1, 12)))

    def value(depth: int) -> object:
        if depth > 3 or draw.random() < 0.4:
            return draw.choice((1, -1.5, 1e10, True, None, "a", "\\", '"', "é", "\0", "\U0001f33f", "\n", 'a"b', ""))
        if draw.random() < 0.5:
            return [value(depth + 1) for _ in range(draw.randrange(4))]
        return {draw.choice(("a", "b", '"', "\\", "")): value(depth + 1) for _ in range(draw.randrange(4))}

    text = json.dumps(value(0), ensure_ascii=draw.random() < 0.5, indent=draw.choice((None, 1)))
    for _ in range(draw.randrange(4)):
        at = draw.randrange(len(text) + 1)
        text = text[:at] + draw.choice(ATOMS) + text[at + draw.randrange(2) :]
    return text


@pytest.mark.parametrize("seed", range(2))
async def test_damaged_json_is_taken_as_a_cast_takes_it(connection: asyncpg.Connection, seed: int) -> None:
    draw = random.Random(seed)
    texts = [damaged(draw) for _ in range(1000)]
    for version in forms(connection):
        compared = await taken(connection, texts, version)
        for text, (ours, theirs) in zip(texts, compared, strict=True):
            assert ours == theirs, text
        assert 100 < sum(theirs is not None for _, theirs in compared) < 900
