"""Expressions at random, most of them ill-typed: what an error is must be agreed on, too."""

from __future__ import annotations

from random import Random

PATHS = (
    *("event.data.x", "event.data.y", "event.data", "event.data.x.x", "event.data.x[0]", "event.data.missing"),
    *("event.data.y[1]", "event", 'event.data["x"]', "event.data.x.y"),
)
LITERALS = (
    *("0", "1", "-1", "2", "100", "1.0", "0.1", "-0.0", "1e400", "4.9e-324", "1.7976931348623157e308"),
    *("9007199254740993", "9223372036854775807", "-9223372036854775808", "9223372036854775808.0"),
    *("1u", "18446744073709551615u", "''", "'a'", "'acme_inc'", "'x'", "'😀'", "'\\n'", "true", "false", "null"),
    *("[]", "{}", "[1, 'a']", "['a', 1.0, null]", "{'a': 1}", "{1: 2u}", "b'a'", "int", "[[1]]", "{true: [0.1]}"),
    *("timestamp('2024-01-21T00:00:00Z')", "duration('90m')"),
)
CONVERSIONS = ("int", "uint", "double", "string", "bytes", "bool", "timestamp", "duration", "type", "dyn")
SHAPES = (
    *("({} < {})", "({} <= {})", "({} > {})", "({} >= {})", "({} == {})", "({} == {})", "({} != {})"),
    *("({} + {})", "({} - {})", "({} * {})", "({} / {})", "({} % {})", "-({})"),
    *("({} && {})", "({} || {})", "({} && {} && {})", "({} || {} || {})", "!({})", "({} ? {} : {})"),
    *("({} in {})", "({} in {})", "({})[{}]", "({}).x", "({}).a", "has(({}).x)", "has(({}).a)"),
    *("({}).startsWith({})", "({}).endsWith({})", "({}).contains({})", "({}).matches('^a|c$')", "size({})"),
    *("[{}, {}]", "[{}]", "{{{}: {}}}"),
    *(f"{conversion}({{}})" for conversion in CONVERSIONS),
)


def expression(random: Random, depth: int) -> str:
    if depth == 0 or random.random() < 0.12:
        return random.choice(PATHS if random.random() < 0.65 else LITERALS)
    shape = random.choice(SHAPES)
    parts = shape.replace("{{", "").replace("}}", "").count("{}")
    return shape.format(*(expression(random, depth - 1) for _ in range(parts)))
