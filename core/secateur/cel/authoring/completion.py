"""What could be written at the cursor, in an expression that is being typed.

Candidates come from the declarations and from a sample of the payloads. Any text and any offset will do. The text
before the cursor hardly ever parses, so its tokens say where the cursor is (see cursor.py), and only the operand before
a dot or a comparison is parsed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal as OneOf
from typing import TypeAlias

from secateur.cel.authoring import cursor as operands
from secateur.cel.authoring.cursor import Cursor, Operand
from secateur.cel.authoring.remarks import percentage
from secateur.cel.authoring.shapes import Field, Shape
from secateur.cel.declarations import CANCELLATION, MACROS, Declarations
from secateur.cel.library import FUNCTIONS, Overload
from secateur.cel.paths import EACH, Path
from secateur.cel.syntax.writing import field_access, literal_text
from secateur.cel.types import BOOL, DYN, NUMBERS, Type, accepts

Kind: TypeAlias = OneOf["field", "variable", "value", "function", "macro", "operator", "keyword"]

MOST = 50
"""Candidates of one answer."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """`insert` replaces the completion's range. The cursor goes to `cursor` within it, or to its end."""

    label: str
    insert: str
    kind: Kind
    detail: str = ""
    """Type and share of the sample, or how a function is used."""
    weight: float = 0.0
    """The share of the sample; orders candidates of one kind."""
    cursor: int | None = None
    key: str = ""
    """The text that the typed word is matched with, if that is not the label."""
    before: int = 0
    """The number of characters before the range that are replaced too: the dot before a key that needs brackets."""


@dataclass(frozen=True, slots=True)
class Completion:
    """Candidates, best first, for the code points `start` to `end` of the source."""

    start: int
    end: int
    candidates: tuple[Candidate, ...] = ()

    def apply(self, source: str, candidate: Candidate) -> tuple[str, int]:
        """The source with the candidate in it, and the new place of the cursor."""
        start = self.start - candidate.before
        inside = len(candidate.insert) if candidate.cursor is None else candidate.cursor
        return source[:start] + candidate.insert + source[self.end :], start + inside

    def ghost(self, source: str, offset: int) -> str:
        """The text that the best candidate would add at the cursor; empty if it would change what is there."""
        if not self.candidates or not self.start <= offset <= self.end:
            return ""
        best, typed, rest = self.candidates[0], source[self.start : offset], source[offset : self.end]
        if best.before or best.kind == "operator" or not typed.strip("'\""):
            return ""
        fits = best.insert.startswith(typed) and best.insert.endswith(rest)
        return best.insert[len(typed) : len(best.insert) - len(rest)] if fits else ""


def complete(
    source: str, offset: int, declarations: Declarations = CANCELLATION, shape: Shape | None = None
) -> Completion:
    """Never raises. Without a shape, candidates come from the declarations only."""
    cursor = operands.locate(source, max(0, min(offset, len(source))))
    completer = _Completer(cursor, declarations, shape or Shape(0, {}))
    found = completer.candidates()
    ranked = _ranked(found, cursor.typed, quoted=cursor.place == "text")
    return Completion(cursor.start, cursor.end, tuple(ranked[:MOST]))


class _Completer:
    def __init__(self, cursor: Cursor, declarations: Declarations, shape: Shape) -> None:
        self._cursor, self._declarations, self._shape = cursor, declarations, shape

    def candidates(self) -> list[Candidate]:
        match self._cursor.place:
            case "member":
                return self._members()
            case "text":
                return self._texts()
            case "operand":
                return self._operands()
            case "operator":
                return self._operators()
        return []

    def _operand(self, text: str) -> Operand | None:
        """What the operand in front of the cursor is."""
        return operands.understand(text, self._cursor, self._declarations)

    def _types(self, operand: Operand) -> list[Type]:
        """The types that the operand may have, the most frequent first."""
        field = None if operand.path is None else self._shape.fields.get(operand.path)
        if field is not None and operand.type == DYN:
            return [Type(name) for name in field.types]
        return [operand.type]

    def _members(self) -> list[Candidate]:
        """Behind a dot."""
        receiver = self._cursor.receiver
        if receiver in self._namespaces():
            return [
                Candidate(name, name, "field", _about(str(self._declarations.variables[f"{receiver}.{name}"].type)))
                for name in self._declarations.fields(receiver)
            ]
        operand = self._operand(receiver)
        if operand is None:
            return []
        fields = self._fields(operand.path) if operand.path is not None else []
        if self._cursor.inside_has:
            return self._in_our_words(fields)
        types = self._types(operand)
        return self._in_our_words([*fields, *_functions(types, member=True), *_macros(types)])

    def _in_our_words(self, candidates: list[Candidate]) -> list[Candidate]:
        """Behind the queue's own word, as in `args.cus`: whoever takes one gets `event.data.customer_id`."""
        receiver, word = self._cursor.receiver, self._declarations.word
        if word is None or word in self._cursor.bound or not _begins_with(receiver, word):
            return candidates
        whole = f"event.data{receiver[len(word) :]}"
        return [_from_the_root(each, whole, self._cursor.start - self._cursor.begin) for each in candidates]

    def _namespaces(self) -> set[str]:
        return {name.partition(".")[0] for name in self._declarations.variables if "." in name}

    def _fields(self, path: Path) -> list[Candidate]:
        before = self._cursor.start - self._cursor.dot
        return [_field(each, before) for each in self._shape.children(path) if each.path[-1] is not EACH]

    def _texts(self) -> list[Candidate]:
        """Within quotes: the values of what is compared, or the keys of what is indexed."""
        if (indexed := self._cursor.indexed) is not None:
            operand = self._operand(indexed)
            fields = self._fields(operand.path) if operand is not None and operand.path is not None else []
            return [replace(each, insert=literal_text(each.label), before=0) for each in fields]
        return [each for each in self._values() if each.insert[:1] == "'"]

    def _values(self) -> list[Candidate]:
        """What the compared field holds, by frequency."""
        if (compared := self._cursor.compared) is None:
            return []
        operand = self._operand(compared)
        field = None if operand is None or operand.path is None else self._shape.fields.get(operand.path)
        if field is None:
            return [_value(value, 0.0) for value in (True, False)] if operand and operand.type == BOOL else []
        return [_value(value, count / field.of) for value, count in field.values]

    def _operands(self) -> list[Candidate]:
        """Where a value begins."""
        found = self._values()
        for name in self._cursor.bound:
            found.append(Candidate(name, name, "variable", "the element", 1.0))
        for name in self._declarations.names():
            variable = self._declarations.variables.get(name)
            is_path = variable is None or variable.type.name == "map"
            insert = f"{name}." if is_path else name
            about = variable.about if variable else ", ".join(self._declarations.fields(name))
            found.append(Candidate(name, insert, "variable", about, 0.9))
        if (word := self._declarations.word) is not None and word not in self._cursor.bound:
            found.append(Candidate(word, "event.data.", "variable", f"the job's {word}: event.data", 0.8))
        if self._cursor.typed:
            found += [*self._own_fields(), *self._paths()]
        found += _functions([], member=False)
        found.append(Candidate("has", "has()", "macro", "has(event.data.field)", 0.5, cursor=4))
        found += [Candidate(word, word, "keyword") for word in ("true", "false", "null")]
        return found

    def _own_fields(self) -> list[Candidate]:
        """The fields of the run that this queue has, for people who begin with its own word."""
        found: dict[str, list[str]] = {}
        for word, name in self._declarations.words.items():
            found.setdefault(name, []).append(word)
        return [
            Candidate(name, name, "field", self._declarations.variables[name].about, 0.7, key=".".join(words))
            for name, words in found.items()
        ]

    def _paths(self) -> list[Candidate]:
        """The whole path of every field, for people who begin with the field's own name."""
        return [
            Candidate(
                dotted := "event" + "".join(field_access(str(key)) for key in path),
                dotted,
                "field",
                _facts(field),
                field.share,
                key=".".join(map(str, path)),
            )
            for path, field in self._shape.fields.items()
            if len(path) > 1 and EACH not in path
        ]

    def _operators(self) -> list[Candidate]:
        """Behind a complete operand."""
        operand = self._operand(self._cursor.receiver)
        types = self._types(operand) if operand is not None else [DYN]
        if types == [BOOL] and (operand is None or operand.path is None):
            signs: tuple[tuple[str, str], ...] = _LOGIC
        elif any(each.name in ("list", "map") for each in types):
            signs = _EQUALITY
        elif any(each in NUMBERS for each in types):
            signs = (*_ORDER, *_EQUALITY, *_MEMBERSHIP, *_LOGIC)
        else:
            signs = (*_EQUALITY, *_MEMBERSHIP, *_ORDER, *_LOGIC)
        return [_operator(sign, about, -place) for place, (sign, about) in enumerate(signs)]


_LOGIC = (("&&", "and"), ("||", "or"))
_EQUALITY = (("==", "is"), ("!=", "is not"))
_ORDER = ((">", "greater"), (">=", "at least"), ("<", "less"), ("<=", "at most"))
_MEMBERSHIP = (("in", "is one of"),)


def _operator(sign: str, about: str, weight: float) -> Candidate:
    if sign == "in":
        return Candidate(sign, "in []", "operator", about, weight, cursor=4)
    return Candidate(sign, f"{sign} ", "operator", about, weight)


def _begins_with(operand: str, name: str) -> bool:
    return operand.startswith(name) and operand[len(name) :].lstrip()[:1] in ("", ".", "[")


def _from_the_root(candidate: Candidate, receiver: str, before: int) -> Candidate:
    """The candidate for a member, with its receiver written anew."""
    head = receiver if candidate.before else f"{receiver}."
    return replace(
        candidate,
        label=f"{head}{candidate.label}",
        insert=f"{head}{candidate.insert}",
        key=candidate.key or candidate.label,
        before=before,
        cursor=None if candidate.cursor is None else len(head) + candidate.cursor,
    )


def _about(text: str) -> str:
    return "" if text == "dyn" else text


def _facts(field: Field) -> str:
    types = "|".join(str(Type(name)) for name in field.types)
    return f"{types} · {percentage(field.share)}"


def _field(field: Field, before: int) -> Candidate:
    key = str(field.path[-1])
    access = field_access(key)
    if access[0] == ".":
        return Candidate(key, access[1:], "field", _facts(field), field.share)
    return Candidate(key, access, "field", _facts(field), field.share, before=before)


def _value(value: object, share: float) -> Candidate:
    text = literal_text(value)
    return Candidate(text, text, "value", percentage(share) if share else "", 2.0 + share)


def _functions(types: Sequence[Type], *, member: bool) -> list[Candidate]:
    """Functions that take one of these types; all, if no type is given. The cursor goes into the brackets."""
    found = []
    for place, (name, function) in enumerate(FUNCTIONS.items()):
        fitting = [each for each in function.overloads if each.member == member and _takes(each, types)]
        if not fitting:
            continue
        alone = member and all(len(each.parameters) == 1 for each in fitting)
        cursor = None if alone else len(name) + 1
        found.append(Candidate(f"{name}()", f"{name}()", "function", _usage(fitting[0]), -place, cursor))
    return found


def _takes(overload: Overload, types: Sequence[Type]) -> bool:
    return not types or any(accepts(overload.parameters[0], each) for each in types)


def _usage(overload: Overload) -> str:
    taken = overload.parameters[1 if overload.member else 0 :]
    return f"({', '.join(map(str, taken))}) → {overload.result}"


def _macros(types: Iterable[Type]) -> list[Candidate]:
    """The macros with their placeholders. The cursor goes to the first condition or value."""
    if not any(each.name in ("list", "dyn") for each in types):
        return []  # hardly anybody wants a macro over a map's keys
    found = []
    for name, usages in MACROS.items():
        for arguments in usages:
            text = f"{name}({', '.join(arguments)})"
            insert = f"{name}({arguments[0]}, {', '.join('' for _ in arguments[1:])})"
            found.append(Candidate(text, insert, "macro", "for the elements", cursor=len(name) + len(arguments[0]) + 3))
    return found


def _ranked(candidates: Iterable[Candidate], typed: str, *, quoted: bool) -> list[Candidate]:
    """The candidates that match the typed word, ordered by match, then by kind, then by their share of the sample."""
    word = typed.casefold()
    ranked = []
    for candidate in candidates:
        label = (candidate.key or candidate.label).casefold()
        text = label.strip("'") if quoted else label
        fit = _fit(text, word)
        if fit is not None and (fit < _LETTERS or candidate.kind == "field"):
            ranked.append(((fit, -_RANKS[candidate.kind], -candidate.weight, text), candidate))
    return [candidate for _, candidate in sorted(ranked, key=lambda item: item[0])]


_RANKS = {"value": 6, "operator": 5, "field": 4, "variable": 3, "macro": 2, "function": 1, "keyword": 0}


def _fit(text: str, word: str) -> int | None:
    """0 if the text starts with the word, 1 if a part does, 2 if it contains it, 3 if it has its letters in order."""
    if text.startswith(word):
        return 0
    parts = text.replace("_", ".").replace("`", ".").replace("-", ".").split(".")
    if any(part.startswith(word) for part in parts):
        return 1
    if word in text:
        return 2
    letters = iter(text)
    return _LETTERS if len(word) > 1 and all(letter in letters for letter in word) else None


_LETTERS = 3
