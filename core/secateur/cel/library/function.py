"""What a function of the language is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from secateur.cel.types import Type
from secateur.cel.values import Value


@dataclass(frozen=True, slots=True)
class Overload:
    """One way to call a function; `parameters` begin with the receiver if there is one."""

    parameters: tuple[Type, ...]
    result: Type
    member: bool = False


@dataclass(frozen=True, slots=True)
class CelFunction:
    """One function: its name, its types, and its two executions."""

    name: str
    overloads: tuple[Overload, ...]
    python: Callable[..., Value]
    """Takes the operands, of the types of one overload. Raises `EvaluationError`."""
    sql: str | None
    """A template with `{0}`, `{1}` for the operands, or `{all}` for all of them with commas. An operand is text for a
    string and numeric for an int; for any other type, and where the overloads differ in it, it is a box. The result is
    boolean, text or numeric for a bool, a string or an int, and a box otherwise. None if the SQL depends on how the
    operands are written: then `sql/calls.py` writes it."""
    boxed: bool = False
    """The template's result is a box, whatever its type."""
    defaults: tuple[Value, ...] = ()
    """For the template: the last operands, where they are left out."""
    nanoseconds: bool = False
    """`python` takes `nanoseconds=`, which lets times be finer than what Postgres keeps."""
    reads: Callable[[str], object] | None = None
    """Reads the last operand, if that is a literal text. What it raises is an error of the expression."""
    not_literal: str | None = None
    """What to say if the last operand is a text and not a literal; None if that is no mistake."""
    elsewhere: tuple[str, ...] = ()
    """Its names in other languages, as far as their spelling does not tell."""

    def overloads_for(self, count: int, *, member: bool) -> list[Overload]:
        """Those with so many operands."""
        return [each for each in self.overloads if each.member == member and len(each.parameters) == count]


def on(result: Type, *parameters: tuple[Type, ...]) -> tuple[Overload, ...]:
    """Overloads that are called on their first operand: `a.f(b)`."""
    return tuple(Overload(given, result, member=True) for given in parameters)


def of(result: Type, *parameters: tuple[Type, ...]) -> tuple[Overload, ...]:
    """Overloads without a receiver: `f(a, b)`."""
    return tuple(Overload(given, result) for given in parameters)


def usages(function: str, overloads: Iterable[Overload]) -> list[str]:
    """How to call it, one line for overloads that differ in the first operand only."""
    firsts: dict[tuple[bool, tuple[Type, ...]], list[str]] = {}
    for overload in overloads:
        firsts.setdefault((overload.member, overload.parameters[1:]), []).append(str(overload.parameters[0]))
    found = []
    for (member, rest), names in firsts.items():
        first, others = "|".join(names), list(map(str, rest))
        if member:
            receiver = f"({first})" if len(names) > 1 else first
            found.append(f"{receiver}.{function}({', '.join(others)})")
        else:
            found.append(f"{function}({', '.join([first, *others])})")
    return found
