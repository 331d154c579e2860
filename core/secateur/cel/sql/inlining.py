"""The same condition without helper functions, if plain SQL can express it.

A queue that is only watched has no schema `secateur_cel`. Here, each call is replaced by the function's body from the
files cel_*.sql. Stored conditions keep the calls, because they may only use a short list of words.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from secateur.cel.sql.generator import Condition

_CALL = re.compile(r"secateur_cel\.(\w+)\(")

_UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_SHORT: Final = 100
_NAME = re.compile(r"\b[ab]\b")
_NAMED: Final = "(select {} from (select {} offset 0) as given)"
_OF_VERDICTS: Final = "(select {} from unnest({}) as verdicts (verdict))"

_JSON: Final = {
    "json_bool_v1": "case jsonb_typeof(a) when 'boolean' then a = 'true'::jsonb end",
    "json_text_v1": "case jsonb_typeof(a) when 'string' then a #>> '{}' end",
    "json_has_v1": "case jsonb_typeof(a) when 'object' then a ? b end",
    "json_element_v1": "case jsonb_typeof(a) when 'array' then a -> b end",
    "json_size_v1": (
        "case jsonb_typeof(a) when 'string' then length(a #>> '{}') when 'array' then jsonb_array_length(a)"
        " when 'object' then (select count(*) from jsonb_object_keys(a)) end::numeric"
    ),
    "json_int_v1": (
        "case jsonb_typeof(a) when 'number' then case when scale(a::numeric) = 0"
        " and a::numeric between -9223372036854775808 and 9223372036854775807 then a::numeric end end"
    ),
    "int_v1": "case when a between -9223372036854775808 and 9223372036854775807 then a end",
    "lower_v1": f"translate(a, '{_UPPER}', '{_UPPER.lower()}')",
    "upper_v1": f"translate(a, '{_UPPER.lower()}', '{_UPPER}')",
}
"""Of the arguments `a` and `b`."""

_VERDICTS: Final = {
    "one_v1": "case when count(*) = count(verdict) then count(*) filter (where verdict) = 1 end",
    "exists_v1": (
        "case when count(*) > count(verdict) or count(*) filter (where verdict <> 0) > 10000 then null"
        " when bool_or(verdict = 1) then true when bool_or(verdict = 3) then null else false end"
    ),
    "count_v1": (
        "case when count(*) = count(verdict) and count(*) filter (where verdict <> 0) <= 10000"
        " then count(*) filter (where verdict = 1) end::numeric"
    ),
}
"""Of the elements of an array."""

_ITEMS: Final = (
    "case jsonb_typeof(a) when 'array' then a"
    " when 'object' then (select coalesce(jsonb_agg(key), '[]') from jsonb_object_keys(a) as key) else '[]' end"
)


def inlined(condition: Condition) -> Condition:
    """The condition without helpers; the condition itself if it calls one that is longer than a short expression."""
    without = replace(condition, sql=_inlined(condition.sql))
    return condition if without.helpers else without


def _inlined(sql: str) -> str:
    """Replaces the known calls with their arguments, from the left."""
    written, place = [], 0
    while (call := _CALL.search(sql, place)) is not None:
        arguments, end = _arguments(sql, call.end())
        body, end = _body(call[1], [_inlined(each) for each in arguments], sql, end)
        written += [sql[place : call.start()], body]
        place = end
    return "".join([*written, sql[place:]])


def _body(name: str, arguments: list[str], sql: str, end: int) -> tuple[str, int]:
    """The replacement of the call, and where the call ends (for a loop, after the name of its items)."""
    if name in _JSON:
        return _of_arguments(_JSON[name], arguments), end
    if name in _VERDICTS:
        return _OF_VERDICTS.format(_VERDICTS[name], arguments[0]), end
    if name == "json_items_v1" and (item := re.compile(r" (item\d)").match(sql, end)) is not None:
        items = _of_arguments(_ITEMS, arguments)
        return f"jsonb_array_elements({items}) as items ({item[1]})", item.end()
    return f"secateur_cel.{name}({', '.join(arguments)})", end


def _of_arguments(body: str, arguments: list[str]) -> str:
    """Short arguments are written into the body; others are named, so that each is evaluated once."""
    given = dict(zip("ab", arguments, strict=False))
    if all(len(argument) < _SHORT and "(select" not in argument for argument in arguments):
        return f"({_NAME.sub(lambda name: f'({given[name[0]]})', body)})"
    return _NAMED.format(body, ", ".join(f"{argument} as {name}" for name, argument in given.items()))


def _arguments(sql: str, begin: int) -> tuple[list[str], int]:
    """The arguments of the call whose bracket opens before `begin`, and the position after its end.

    No text in a condition contains a bracket or a comma, because everything that a user wrote is a parameter.
    """
    found: list[str] = []
    start, depth = begin, 0
    for place in range(begin, len(sql)):
        sign = sql[place]
        if sign in "([":
            depth += 1
        elif sign in ")]":
            if depth == 0:
                return [*found, sql[start:place]], place + 1
            depth -= 1
        elif sign == "," and depth == 0:
            found.append(sql[start:place].strip())
            start = place + 1
    raise ValueError("a call has no end")
