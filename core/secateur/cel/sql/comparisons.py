"""Comparisons in SQL: native operators if one side is a literal, helpers over boxes for the rest."""

from __future__ import annotations

import math

from secateur.cel.sql.converting import Forms
from secateur.cel.sql.doubles import Rounding, rounding_to
from secateur.cel.sql.forms import ERROR, Form, Sql, boolean, content
from secateur.cel.syntax.ast import MIRRORED, Comparison
from secateur.cel.values import UInt, Value

_NATIVE = {"==": "=", "!=": "<>"}
_EXACT = 2**53
"""Each integer below it is exactly a double, so one interval covers a payload's integers and doubles."""


def compare(operator: Comparison, left: Sql, right: Sql, forms: Forms) -> Sql:
    if left.form is Form.CONSTANT and right.form is not Form.CONSTANT:
        operator, left, right = MIRRORED[operator], right, left
    if operator in ("==", "!="):
        equal = _equal(operator, left, right, forms)
        if equal is not None:
            return boolean(equal)
        boxed = f"secateur_cel.equal_v1({forms.box(left)}, {forms.box(right)})"
        if left.form is right.form is Form.JSON and left.plain and right.plain:
            same = f"in ('string', 'boolean', 'null') then {left.text} = {right.text}"
            boxed = f"case when jsonb_typeof({left.text}) {same} else {boxed} end"
        return boolean(boxed if operator == "==" else f"(not {boxed})")
    ordered = _ordered(operator, left, right, forms)
    if ordered is not None:
        return boolean(ordered)
    if operator in (">", ">="):
        left, right = right, left
    function = "less_v1" if operator in ("<", ">") else "less_equal_v1"
    return boolean(f"secateur_cel.{function}({forms.box(left)}, {forms.box(right)})")


def _same_type(left: Sql, right: Sql, forms: Forms) -> tuple[str, str] | None:
    """Both sides as texts, times or numbers, if their forms guarantee the type."""
    if left.form is Form.TEXT and (right.form is Form.TEXT or isinstance(right.value, str)):
        return forms.string(left), forms.string(right)
    for convert in (forms.time, forms.number):
        if left.form is not Form.CONSTANT:
            one = convert(left)
            other = one and convert(right)
            if one and other:
                return one, other
    return None


def _equal(operator: Comparison, left: Sql, right: Sql, forms: Forms) -> str | None:
    sign = _NATIVE[operator]
    if same := _same_type(left, right, forms):
        return f"{same[0]} {sign} {same[1]}"
    if left.form is Form.BOOL and (right.form is Form.BOOL or isinstance(right.value, bool)):
        return f"({left.text}) {sign} ({forms.bool(right)})"
    if left.form is not Form.JSON or right.form is not Form.CONSTANT:
        return None
    if right.value is None or isinstance(right.value, (str, bool)):
        return f"{left.text} {sign} {forms.json_parameter(right.value)}"
    if left.plain and (rounding := number_rounding(right.value)):
        inside = within(left.text, rounding, forms)
        return inside if operator == "==" else f"(not {inside})"
    return None


def number_rounding(value: Value) -> Rounding | None:
    """The numbers equal to this literal; None if that depends on whether they are integers."""
    if type(value) in (int, UInt) and abs(value) < _EXACT:
        return rounding_to(float(value))
    if type(value) is float and math.isfinite(value):
        return rounding_to(value)
    return None


def within(path: str, rounding: Rounding, forms: Forms) -> str:
    """This also tests the type: in jsonb's order, only numbers lie between two numbers."""
    low, high = forms.text_parameter(rounding.low), forms.text_parameter(rounding.high)
    sign = "=" if rounding.closed else ""
    return f"({path} >{sign} {low}::jsonb and {path} <{sign} {high}::jsonb)"


def _ordered(operator: Comparison, left: Sql, right: Sql, forms: Forms) -> str | None:
    if left.form is Form.TEXT or right.form is Form.TEXT:
        texts = _same_type(left, right, forms)
        return f"({texts[0]}) ~{operator}~ {texts[1]}" if texts else None
    if same := _same_type(left, right, forms):
        return f"{same[0]} {operator} {same[1]}"
    if left.form is not Form.JSON or right.form is not Form.CONSTANT or not left.plain:
        return None
    if isinstance(right.value, str):
        native = f"({content(left)}) ~{operator}~ {forms.text_parameter(right.value)}"
        return f"case jsonb_typeof({left.text}) when 'string' then {native} end"
    if rounding := number_rounding(right.value):
        sign, bound = beyond(operator, rounding)
        native = f"{left.text} {sign} {forms.text_parameter(bound)}::jsonb"
        return f"case jsonb_typeof({left.text}) when 'number' then {native} end"
    return None if right.value is not None else ERROR.text


def beyond(operator: Comparison, rounding: Rounding) -> tuple[str, str]:
    """The sign and the bound for comparing with all numbers that equal the literal."""
    bound = rounding.high if operator in (">", "<=") else rounding.low
    strict = operator in ("<", ">")
    return operator[0] + ("=" if strict is not rounding.closed else ""), bound
