"""Expressions and payloads at random, for Hypothesis to draw.

Most expressions are ill-typed somewhere, and most payloads have something that does not fit: what is an error must be
agreed on, too, and what absorbs it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random

from hypothesis import strategies as st

KINDS = "biudsylmtzT"
"""bool, int, uint, double, string, bytes, list, map, timestamp, duration, type; `n` is any number, `a` anything."""

PATHS = (
    *("event.data.x", "event.data.x", "event.data.y", "event.data.y", "event.data", "event", "event.data.x.a"),
    *("event.data.x[0]", "event.data.y[1]", "event.data.missing", 'event.data["x"]', "event.data.m.`a.b`", 'event[""]'),
)
"""Whose values may be of any type."""

FIELDS = {
    **{kind: f"event.data.{kind}" for kind in "bidslm"},
    "u": "uint(event.data.i)",
    "y": "bytes(event.data.s)",
    "t": "timestamp(event.data.t)",
    "z": "duration(event.data.z)",
    "T": "type(event.data.x)",
    "a": "event.data.x",
}
"""Where a value of each kind is usually found."""

LITERALS = {
    "b": ("true", "false"),
    "i": ("0", "1", "-1", "2", "3", "100", "9007199254740993", "9223372036854775807", "-9223372036854775808"),
    "u": ("0u", "1u", "3u", "18446744073709551615u"),
    "d": (
        "1.0",
        "0.5",
        "0.1",
        "-0.0",
        "1e400",
        "-1e400",
        "4.9e-324",
        "1.7976931348623157e308",
        "9223372036854775808.0",
    ),
    "s": (
        *(
            "''",
            "'a'",
            "'acme_inc'",
            "'x'",
            "'😀'",
            r"'\n'",
            r"' a\u00a0'",
            "'a,b,c'",
            "','",
            "'1'",
            "'-0.0'",
            "'true'",
        ),
        *("'1h30m'", "'2024-01-21T00:00:00Z'", r"'\"'", r"r'\d'"),
    ),
    "y": ("b''", "b'a'", r"b'\xff'", "b'é'"),
    "l": (
        "[]",
        "[1, 'a']",
        "['a', 1.0, null]",
        "[3, 1, 2]",
        "['b', 'a']",
        "[[1], [2, 3]]",
        "[true, false]",
        "[-0.0, 0.0]",
    ),
    "m": ("{}", "{'a': 1}", "{1: 2u}", "{true: [0.1], 'bb': 1, 'a': 2}", "{'x': {'a': null}}"),
    "t": (
        *("timestamp('2024-01-21T12:34:56.789Z')", "timestamp('0001-01-01T00:00:00Z')", "timestamp(0)"),
        *("timestamp('9999-12-31T23:59:59.999999Z')", "timestamp('2024-03-31T01:00:00Z')"),
    ),
    "z": ("duration('90m')", "duration('-1.5s')", "duration('0')", "duration('87600000h')", "duration('1us')"),
    "T": ("int", "string", "list", "null_type", "google.protobuf.Timestamp"),
    "a": ("null",),
}
ZONES = ("", "'UTC'", "'Europe/Paris'", "'America/New_York'", "'Asia/Kathmandu'", "'+05:30'", "'-11:00'")
CALENDAR = ("FullYear", "Month", "Date", "DayOfMonth", "DayOfWeek", "DayOfYear")
CLOCK = ("Hours", "Minutes", "Seconds", "Milliseconds")

_ORDERS = ("<", "<=", ">", ">=")
SHAPES: dict[str, tuple[tuple[str, str], ...]] = {
    "b": (
        *(
            (f"({{}} {order} {{}})", kinds)
            for order in _ORDERS
            for kinds in ("nn", "nn", "ss", "tt", "zz", "bb", "yy", "ad")
        ),
        *(("({} == {})", kinds) for kinds in ("aa", "aa", "nn", "ss", "ll", "mm", "tt", "TT", "an", "as", "ab")),
        *(("({} != {})", kinds) for kinds in ("aa", "nn", "as")),
        *(("({} && {})", "bb"), ("({} || {})", "bb"), ("({} && {} && {})", "bbb"), ("({} || {} || {})", "bbb")),
        *(("!({})", "b"), ("({} in {})", "al"), ("({} in {})", "am"), ("({} in {})", "sa"), ("bool({})", "s")),
        *(("has(({}).x)", "m"), ("has(({}).a)", "a"), ("has(event.data.x)", ""), ("has(event.data.y)", "")),
        *(("({}).startsWith({})", "ss"), ("({}).endsWith({})", "ss"), ("({}).contains({})", "ss")),
        *(("({}).matches('^a|c$')", "s"), ("({}).matches('(?i)A.c')", "s"), (r"({}).matches(r'\d+\b')", "s")),
    ),
    "i": (
        *(("({} + {})", "ii"), ("({} - {})", "ii"), ("({} * {})", "ii"), ("({} / {})", "ii"), ("({} % {})", "ii")),
        *(
            ("-({})", "i"),
            ("int({})", "n"),
            ("int({})", "s"),
            ("int({})", "t"),
            ("size({})", "s"),
            ("({}).size()", "l"),
        ),
        *(("size({})", "m"), ("size({})", "y"), ("({}).indexOf({})", "ss"), ("({}).indexOf({}, {})", "ssi")),
        *(("({}).lastIndexOf({})", "ss"), ("({}).lastIndexOf({}, {})", "ssi")),
        *((f"({{}}).get{part}({zone})", "t") for part in (*CALENDAR, *CLOCK) for zone in ZONES),
        *((f"({{}}).get{part}()", "z") for part in CLOCK for _ in range(3)),
    ),
    "u": (
        ("({} + {})", "uu"),
        ("({} - {})", "uu"),
        ("({} * {})", "uu"),
        ("({} % {})", "uu"),
        ("uint({})", "n"),
        ("uint({})", "s"),
    ),
    "d": (
        *(("({} + {})", "dd"), ("({} - {})", "dd"), ("({} * {})", "dd"), ("({} / {})", "dd"), ("-({})", "d")),
        *(("double({})", "n"), ("double({})", "n"), ("double({})", "s")),
    ),
    "s": (
        *(("({} + {})", "ss"), *(("string({})", kind) for kind in "snbytz"), ("({}).lowerAscii()", "s")),
        *(
            ("({}).upperAscii()", "s"),
            ("({}).trim()", "s"),
            ("({}).reverse()", "s"),
            ("({}).charAt({})", "si"),
            ("({}).substring({})", "si"),
        ),
        *(("({}).substring({}, {})", "sii"), ("({}).replace({}, {})", "sss"), ("({}).replace({}, {}, {})", "sssi")),
        *(("({}).join()", "l"), ("({}).join({})", "ls"), ("['a', {}].join({})", "ss")),
    ),
    "y": (("bytes({})", "s"), ("({} + {})", "yy")),
    "l": (
        *(("[{}]", "a"), ("[{}, {}]", "aa"), ("[{}, {}, {}]", "aaa"), ("[{}, {}]", "ss"), ("({} + {})", "ll")),
        *(("({}).split({})", "ss"), ("({}).split({}, {})", "ssi")),
    ),
    "m": (("{{{}: {}}}", "sa"), ("{{{}: {}}}", "aa"), ("{{{}: {}, {}: 1}}", "saa")),
    "t": (
        ("timestamp({})", "s"),
        ("timestamp({})", "i"),
        ("({} + {})", "tz"),
        ("({} - {})", "tz"),
        ("({} + {})", "zt"),
    ),
    "z": (("duration({})", "s"), ("({} - {})", "tt"), ("({} + {})", "zz"), ("({} - {})", "zz")),
    "T": (("type({})", "a"),),
    "a": (
        ("({})[{}]", "li"),
        ("({})[{}]", "ms"),
        ("({}).x", "m"),
        ("({}).a", "a"),
        ("({})[{}]", "aa"),
        ("dyn({})", "a"),
    ),
}
MACROS = {"all": "b", "exists": "b", "exists_one": "b", "filter": "l", "map": "l"}
MAX_NESTING = 2


@dataclass(frozen=True, slots=True)
class Trial:
    """One expression and the payloads to try it on."""

    source: str
    payloads: tuple[str, ...]


def trials(payloads: int) -> st.SearchStrategy[Trial]:
    """From one number each: drawn choice by choice, Hypothesis repeats itself, and four in five are the same."""
    return st.builds(_trial, st.integers(1, 5), st.integers(0, 2**63), st.just(payloads))


def _trial(depth: int, seed: int, payloads: int) -> Trial:
    random = Random(seed)
    source = expression(random, random.choice("bbbbbb" + KINDS), depth, ())
    return Trial(source, tuple(payload(random) for _ in range(payloads)))


def expression(random: Random, kind: str, depth: int, names: tuple[str, ...]) -> str:
    """Of that kind, as far as one can tell; now and then of another. `names` are the elements in scope."""
    kind = random.choice("iiud") if kind == "n" else random.choice(KINDS) if kind == "a" else kind
    choice = random.randrange(40)
    if choice == 0:
        kind = random.choice(KINDS)
    if depth == 0 or choice < 4:
        return _leaf(random, kind, names)
    if choice < 12 and len(names) < MAX_NESTING and kind in "bl":
        return (_macro if random.random() < 0.5 else _chain)(random, kind, depth, names)
    shape, operands = random.choice(SHAPES["a" if choice == 12 else kind])
    if choice == 13:
        shape, operands = "({} ? {} : {})", f"b{kind}{kind}"
    return shape.format(*(expression(random, operand, depth - 1, names) for operand in operands))


def _leaf(random: Random, kind: str, names: tuple[str, ...]) -> str:
    if names and random.random() < 0.6:
        return random.choice(names)
    if random.random() < 0.35:
        return random.choice(LITERALS[kind])
    return FIELDS[kind] if random.random() < 0.85 else random.choice(PATHS)


def _macro(random: Random, kind: str, depth: int, names: tuple[str, ...]) -> str:
    macro = random.choice([macro for macro, result in MACROS.items() if result == kind])
    name = random.choice(("e", "f", "event"))
    bodies = "b" if macro != "map" else random.choice(("a", "ba"))
    arguments = (name, *(expression(random, body, depth - 1, (*names, name)) for body in bodies))
    return f"({expression(random, random.choice('llm'), depth - 1, names)}).{macro}({', '.join(arguments)})"


def _chain(random: Random, kind: str, depth: int, names: tuple[str, ...]) -> str:
    """Several macros in a row, and for a boolean something that ends them; the bodies are short."""

    def bodies(kinds: str) -> str:
        name = random.choice(("e", "f", "event"))
        return ", ".join((name, *(expression(random, body, min(1, depth - 1), (*names, name)) for body in kinds)))

    text = f"({expression(random, random.choice('llm'), depth - 1, names)})"
    for _ in range(random.choice((1, 1, 2, 3))):
        macro = random.choice(("map", "map", "filter"))
        text += f".{macro}({bodies('b' if macro == 'filter' else random.choice(('a', 'ba')))})"
    if kind == "l":
        return text
    match random.randrange(4):
        case 0:
            return f"({text}.size() {random.choice(('>', '>=', '==', '!='))} {random.randrange(3)})"
        case 1:
            return f"({expression(random, 'a', 0, names)} in {text})"
    return f"{text}.{random.choice(('exists', 'all', 'exists_one'))}({bodies('b')})"


NUMBERS = (
    *(
        "0",
        "1",
        "2",
        "3",
        "-1",
        "100",
        "-0",
        "0.0",
        "-0.0",
        "1.0",
        "1e2",
        "0.5",
        "1.50",
        "0.1",
        "0.1000000000000000055",
    ),
    *("9007199254740993", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "18446744073709551616"),
    *("1e400", "-1e400", "1e-400", "4.9e-324", "2.4703282292062328e-324", "1.7976931348623159e308", "1e15", "1E+2"),
    *("123456789012345678901234567890", "0.30000000000000004", "99.99999999999999999999"),
)
TEXTS = (
    *(
        "",
        "a",
        "b",
        "x",
        "acme_inc",
        "Acme",
        "a,b,c",
        ",",
        "'",
        '"',
        "\\",
        "a.b",
        "$1",
        "%_",
        "é",
        "e\u0301",
        "😀",
        "\uffff",
    ),
    *("1", "-1", "1.5", "1e3", "inf", "nan", "0x1", "true", "t", "TRUE", " a\u00a0", "\u2003", "\x1c", "\n", "ÀB"),
    *("2024-01-21T12:34:56Z", "1h30m", "0", "; drop table runs --"),
)
TIMES = (
    *("2024-01-21T12:34:56Z", "2024-02-30T00:00:00Z", "2011-12-30T12:00:00+05:30", "9999-12-31T23:59:59.999999Z"),
    *("1883-11-18T17:00:00Z", "2100-03-01T00:00:00.5Z", "2024-03-31T01:59:59.999-23:59", "0001-01-01T00:00:00Z"),
    *("1970-01-01T00:00:00Z", "5432-07-01T23:30:00.25Z", "2024-01-21t12:34:56.1z", "2024-01-21"),
)
DURATIONS = ("1h30m", "-1.5s", "0", "1ns", "1us", "90m", "87600000h", "-3725.5s", "+.5ms", "1.h", "24h", "1d")
KEYS = ("x", "y", "a", "b", "", "a.b", "data", "é", "'", '"', "$1", "bb", "missing")


def payload(random: Random) -> str:
    """An event as JSON text, so that numbers have every form; without what jsonb refuses."""
    if random.random() < 0.1:
        return _value(random, 3)
    if random.random() < 0.1:
        return _object([("data", _value(random, 3)), ("", _value(random, 1))])
    fields = [(field, _field(random, field)) for field in "bidslmtzxy" if random.random() < 0.95]
    return _object([("data", _object(fields)), ("", _value(random, 1))])


def _field(random: Random, name: str) -> str:
    """What the field of that name usually has."""
    if random.random() < 0.1:
        return _value(random, 2)
    match name:
        case "b":
            return random.choice(("true", "false"))
        case "i":
            return random.choice(("0", "1", "2", "3", "-1", "100", str(random.randrange(-(2**63), 2**63))))
        case "d":
            return random.choice(("0.0", "1.0", "0.5", "-1.5", "1e-3", "1e400", repr(random.uniform(-1e3, 1e3))))
        case "s":
            return json.dumps(random.choice(TEXTS))
        case "t":
            return json.dumps(random.choice(TIMES))
        case "z":
            return json.dumps(random.choice(DURATIONS))
        case "l":
            kind = random.choice("idsbltx")
            return _list([_field(random, kind) for _ in range(random.randrange(5))])
        case "m":
            return _object([(random.choice(KEYS), _value(random, 1)) for _ in range(random.randrange(5))])
    return _value(random, 2)


def _value(random: Random, depth: int) -> str:
    choice = random.randrange(10 if depth else 6)
    if choice < 2:
        return random.choice(NUMBERS)
    if choice < 4:
        return json.dumps(random.choice(TEXTS), ensure_ascii=random.random() < 0.5)
    if choice == 4:
        return random.choice(("true", "false", "null"))
    if choice == 5:
        return random.choice(
            (str(random.randrange(-(2**65), 2**65)), repr(random.uniform(-1, 1) * 10.0 ** random.randrange(-300, 300)))
        )
    if choice < 8:
        return _list([_value(random, depth - 1) for _ in range(random.randrange(4))])
    if choice == 8:
        return _object([(random.choice(KEYS), _value(random, depth - 1)) for _ in range(random.randrange(4))])
    levels = random.choice((3, 30, 70))
    return "[" * levels + _value(random, 0) + "]" * levels


def _list(items: list[str]) -> str:
    return f"[{','.join(items)}]"


def _object(members: list[tuple[str, str]]) -> str:
    return f"{{{','.join(f'{json.dumps(key)}:{value}' for key, value in members)}}}"
