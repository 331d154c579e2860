r"""Text that may be JSON, as SQL: jsonb where it is JSON, null where it is not. It never raises, and needs no function.

Some engines keep payloads as text. A cast to jsonb raises on the first row that is no JSON, and takes the whole query
with it; a function with a handler would have to be installed. From Postgres 16 on, `pg_input_is_valid` says beforehand.
Before that, the text is *proven* to be JSON: each string is replaced by the character 1, each number and word by `0`,
then the innermost `[…]` and `{…}` by `0`, again and again. JSON is what ends as one of the two. Nothing else can: the
character 1 is in no JSON, so that text with it is refused at once; a stray quote stays; two values in a row make `00`.

What is proven is a little less than what a cast takes, never more: text that is nested deeper than `DEEPEST`, numbers
beyond what `numeric` holds, `\u0000` and lone surrogates, which jsonb does not hold, are null.
"""

from __future__ import annotations

from typing import Final

DEEPEST: Final = 16
"""How deep lists and objects may be nested for the proof, which takes one pass a level."""

_HEX = "[0-9a-fA-F]"
_ESCAPE = (
    rf'\\(?:["\\/bfnrt]|u(?:[1-9a-cA-CefEF]{_HEX * 3}|[dD][0-7]{_HEX * 2}'
    rf"|[dD][89abAB]{_HEX * 2}\\u[dD][c-fC-F]{_HEX * 2}"
    rf"|0(?:[1-9a-fA-F]{_HEX * 2}|0(?:[1-9a-fA-F]{_HEX}|0[1-9a-fA-F]))))"
)
_SCALAR = r"-?(?:0|[1-9][0-9]{0,200})(?:\.[0-9]{1,200})?(?:[eE][+-]?[0-9]{1,3})?|true|false|null"
_CONTAINER = r"\[(?:[\u00010](?:,[\u00010])*)?\]|\{(?:\u0001:[\u00010](?:,\u0001:[\u00010])*)?\}"
_PIECES = r"""
  (select case when count(*) % 2 = 1
                and not bool_or(strpos(part.piece, '\') > 0 or part.nth % 2 = 0 and part.piece ~ '[\x01-\x1f]')
               then string_agg(case when part.nth % 2 = 1 then part.piece end, E'\x01' order by part.nth) end
     from unnest(string_to_array({unescaped}, '"')) with ordinality as part (piece, nth))"""


def as_jsonb(text: str, server_version: int) -> str:
    """The expression for `text`, itself an SQL expression; `server_version` is Postgres's `server_version_num`."""
    if server_version >= 160000:
        return f"case when pg_input_is_valid({text}, 'jsonb') then ({text})::jsonb end"
    rest = _replaced(_without_strings(text), _SCALAR, "'0'")
    rest = f"translate({rest}, E' \\t\\n\\r', '')"
    for _ in range(DEEPEST):
        rest = _replaced(rest, _CONTAINER, "'0'")
    # What cannot be the start of JSON, such as a pickle, costs one look. An escape may have no character in an encoding
    # other than UTF-8.
    may_be = rf"({text}) ~ '^[ \t\n\r]*[\[{{\"0-9tfn-]'"
    representable = rf"strpos({text}, E'\x01') = 0 and (getdatabaseencoding() = 'UTF8' or strpos({text}, '\u') = 0)"
    proven = rf"case when {representable} and {rest} in ('0', E'\x01') then ({text})::jsonb end"
    return f"case when {may_be} then {proven} end"


def _without_strings(text: str) -> str:
    """Each string as the character 1; null where a quote or backslash is left over or a string has a control character.

    Once the escapes are an `x`, every second piece between two quotes is a string. An `x` elsewhere is no JSON.
    """
    replaced = _replaced(text, _ESCAPE, "'x'")
    return _PIECES.replace("{unescaped}", rf"case when strpos({text}, '\') > 0 then {replaced} else {text} end")


def _replaced(text: str, pattern: str, by: str) -> str:
    return f"regexp_replace({text}, '{pattern}', {by}, 'g')"
