"""The wording of warnings about valid expressions."""

from __future__ import annotations

from secateur.cel.messages import article
from secateur.cel.types import Type

ALWAYS_TRUE = "this is true for every run"
ALWAYS_FALSE = "this is false for every run: it matches nothing"
PART_ALWAYS_TRUE = "this part is always true, whatever the run"
PART_ALWAYS_FALSE = "this part is always false, whatever the run"


def always_fails(message: str) -> str:
    return f"this fails for every run: {message}"


def never_together(path: str) -> str:
    return f"no run matches both: `{path}` cannot meet both conditions at once"


def one_of_both(path: str) -> str:
    return f"always true if `{path}` exists, because it never equals both"


def nobody_has(path: str, sampled: int) -> str:
    return f"none of {sampled:,} sampled runs has `{path}`"


def no_element_has(path: str, elements: int) -> str:
    return f"none of {elements:,} sampled elements has `{path}`"


def never_that_value(path: str, sampled: int) -> str:
    return f"none of {sampled:,} sampled runs has this value in `{path}`"


def never_equal(path: str, seen: str, given: str) -> str:
    return f"never true: in the sample `{path}` is always {seen}, which never equals {given}"


def always_unequal(path: str, seen: str, given: str) -> str:
    return f"always true: in the sample `{path}` is always {seen}, which never equals {given}"


def not_comparable(path: str, seen: str, given: str) -> str:
    return f"never true: in the sample `{path}` is always {seen}, which cannot be compared with {given}"


def not_a_condition(path: str, seen: str) -> str:
    return f"this is not a condition: in the sample `{path}` is always {seen}, never true or false"


def has_no_fields(path: str, seen: str, field: str) -> str:
    return f"never true: in the sample `{path}` is always {seen}, which has no field `{field}`"


def never_contained(path: str, seen: str) -> str:
    return f"never true: in the sample `{path}` is always {seen}, and the list contains none"


def not_taken(function: str, path: str, seen: str) -> str:
    return f"`{function}` does not take such a value: in the sample `{path}` is always {seen}"


def arithmetic_fails(operator: str, path: str, seen: str, other: str, percent: str) -> str:
    return f"`{operator}` fails where `{path}` is {seen}, not {other}: {percent} of the sample"


def any_of(types: list[str]) -> str:
    """`an int or a string`."""
    named = [article(Type(name)) for name in types]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} or {named[-1]}"


def percentage(share: float) -> str:
    """Such as `98 %`. A share that is only close to none or all is never shown as 0 % or 100 %."""
    if share in (0.0, 1.0):
        return f"{share:.0%}".replace("%", " %")
    if share < 0.01:
        return "< 1 %"
    return f"{min(99, round(share * 100))} %"
