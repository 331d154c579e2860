"""Every word that generated SQL can contain.

A database that stores conditions checks them against this list, so that nothing but the compiler's own output can
run there. Left out are placeholders, parentheses, commas and brackets.
"""

from __future__ import annotations

import re

from secateur.cel.library import FUNCTIONS

_COLUMNS = ("id", "app_id", "function_id", "event", "status", "attempt", "priority", "started_at", "scheduled_for")
_KEYWORDS = ("and", "or", "not", "is", "in", "null", "case", "when", "then", "else", "end")
_LOOPS = ("select", "from", "all", "item1", "item2")
"""A macro becomes a sub-select over one of the two helpers that return items. The database accepts this combination
only: `any|all|array (select … from secateur_cel.items_v1(…) item1)`."""
_VALUES = ("any", "array", "true", "false")
_TYPES = ("text", "jsonb", "boolean", "numeric", "int", "timestamptz", "interval")
_TYPE_NAMES = ("object", "array", "string", "number", "boolean", "null", "true")
_OPERATORS = (
    "::",
    "->",
    "->>",
    "#>>",
    "?",
    "+",
    "-",
    "*",
    "@>",
    "=",
    "<>",
    "<",
    "<=",
    ">",
    ">=",
    "~",
    "~<~",
    "~<=~",
    "~>~",
    "~>=~",
)
_FUNCTIONS = (
    "jsonb_typeof",
    "length",
    "jsonb_array_length",
    "to_jsonb",
    "div",
    "mod",
)
_HELPERS = (
    *("box_json", "box_bool", "box_text", "box_time", "box_number"),
    *(
        "bool",
        "text",
        "int",
        "json_int",
        "json_bool",
        "json_text",
        "json_has",
        "json_element",
        "json_size",
        "json_timestamp",
    ),
    *("equal", "less", "less_equal", "in", "has", "select", "index", "size", "list", "map"),
    *("add", "subtract", "multiply", "divide", "modulo", "negate", "shift", "seconds"),
    *("to_timestamp", "to_duration"),
    *("items", "json_items", "one", "exists", "count", "collect", "whole", "part"),
)

_WORDS = re.compile(r"[a-z_][a-z_0-9.]*(?=\()")
_IN_TEMPLATES = [word for each in FUNCTIONS.values() for word in _WORDS.findall(each.sql or "")]
"""Functions that the library's templates call."""

VOCABULARY: frozenset[str] = frozenset(
    (
        *(f"run.{column}" for column in _COLUMNS),
        *_KEYWORDS,
        *_LOOPS,
        *_VALUES,
        *_TYPES,
        *(f"'{name}'" for name in _TYPE_NAMES),
        *_OPERATORS,
        *_FUNCTIONS,
        *_IN_TEMPLATES,
        *(f"secateur_cel.{helper}_v1" for helper in _HELPERS),
        "secateur_cel.part_v2",
        "secateur_cel.collect_v2",
    )
)
