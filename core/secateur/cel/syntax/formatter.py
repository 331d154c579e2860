"""The normalised source of an expression: the same tokens, always spaced and broken into lines in the same way.

It works on tokens, so comments survive and the meaning cannot change. It removes brackets around the whole expression
or around other brackets, and a comma at the end of a list. Strings get single quotes where that needs no escape. A line
that is too long is broken at `? :`, then at `||`, then at `&&`, then within brackets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from secateur.cel.diagnostics import Reporter
from secateur.cel.syntax.scanner import Token, scan

WIDTH = 100
_INDENT = 2
_HANGING = 3
"""The indent of lines below `|| ` and `&& `."""

_CLOSING = {"(": ")", "[": "]", "{": "}"}
_OPERATORS = frozenset(
    ("&&", "||", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "?", ":", "in", "!"),
)


@dataclass(frozen=True, slots=True)
class _Word:
    """A token that is not a bracket. `prefix` marks a sign without a left operand."""

    text: str
    prefix: bool = False
    comment: bool = False
    own_line: bool = False
    """Whether a comment stands alone on its line."""
    entry: bool = False
    """Whether a colon separates a key from its value."""


@dataclass(frozen=True, slots=True)
class _Group:
    """What is between two brackets."""

    opening: str
    items: tuple[_Item, ...]
    attached: bool
    """Whether the brackets follow a name or an operand, and so hold arguments or an index."""


_Item: TypeAlias = "_Word | _Group"
_Items: TypeAlias = Sequence[_Item]


def format_source(source: str, width: int = WIDTH) -> str:
    """The normalised source, without a final newline. Raises `ExpressionError` if it does not parse."""
    from secateur.cel.syntax.parser import parse

    reporter = Reporter(source)
    parse(source, reporter)
    reporter.raise_errors()
    formatted = "\n".join(_block("", _bare(_tree(source)), width, 0))
    while formatted != source:  # a comment that has moved out may let the rest fit on one line
        source, formatted = formatted, "\n".join(_block("", _bare(_tree(formatted)), width, 0))
    return formatted


def _tree(source: str) -> list[_Item]:
    """The tokens, nested by their brackets. The parser has checked that the brackets match."""
    levels: list[list[_Item]] = [[]]
    attached: list[bool] = []
    end = 0
    for token in scan(source):
        items = levels[-1]
        text = token.text
        if token.kind == "comment":
            items.append(_Word(text.rstrip(), comment=True, own_line="\n" in source[end : token.start] or end == 0))
        elif token.kind == "operator" and text in _CLOSING:
            attached.append(_is_operand(_last(items)))
            levels.append([])
        elif token.kind == "operator" and text in _CLOSING.values():
            inner = levels.pop()
            opening = next(opening for opening, closing in _CLOSING.items() if closing == text)
            levels[-1].append(_group(opening, inner, attached.pop()))
        else:
            prefix = text in ("!", "-") and token.kind == "operator" and not _is_operand(_last(items))
            items.append(_Word(_normalised(token), prefix=prefix))
        end = token.end
    return levels[0]


def _last(items: _Items) -> _Item | None:
    return next((item for item in reversed(items) if not _is_comment(item)), None)


def _is_comment(item: _Item) -> bool:
    return isinstance(item, _Word) and item.comment


def _is_operand(item: _Item | None) -> bool:
    if item is None or isinstance(item, _Group):
        return item is not None
    return item.text not in _OPERATORS and item.text not in (",", ".")


def _group(opening: str, inner: list[_Item], attached: bool) -> _Group:
    if inner and inner[-1] == _Word(",") and opening != "(":
        inner = inner[:-1]
    if opening == "(" and not attached and len(inner) == 1:
        only = inner[0]
        if isinstance(only, _Group) and only.opening == "(" and not only.attached:
            return only
    return _Group(opening, tuple(_entries(inner) if opening == "{" else inner), attached)


def _entries(items: list[_Item]) -> Iterator[_Item]:
    """The items of a map, in which its own colons are marked and those of conditionals are not."""
    open_questions = 0
    for item in items:
        text = item.text if isinstance(item, _Word) else ""
        if text == ":" and open_questions == 0:
            yield _Word(":", entry=True)
            continue
        open_questions += (text == "?") - (text == ":")
        yield item


def _bare(items: _Items) -> _Items:
    """The items without outer brackets."""
    if len(items) == 1 and isinstance(items[0], _Group) and items[0].opening == "(":
        return _bare(items[0].items)
    return items


def _normalised(token: Token) -> str:
    text = token.text
    if token.kind == "string" and text[0] == '"' and text[:3] != '"""' and "'" not in text:
        return f"'{text[1:-1]}'"
    return text.lower() if token.kind in ("int", "uint", "float") else text


def _flat(items: _Items) -> str:
    """The items on one line. There must be no comment among them."""
    parts: list[str] = []
    before: _Item | None = None
    for item in items:
        if before is not None and _spaced(before, item):
            parts.append(" ")
        parts.append(item.text if isinstance(item, _Word) else _closed(item))
        before = item
    return "".join(parts)


def _closed(group: _Group) -> str:
    return f"{group.opening}{_flat(group.items)}{_CLOSING[group.opening]}"


def _spaced(before: _Item, item: _Item) -> bool:
    if isinstance(before, _Word) and (before.prefix or before.text == "."):
        return False
    if isinstance(item, _Group):
        return not item.attached
    if item.text == ".":
        return not _is_operand(before)
    return item.text != "," and not item.entry


def _block(prefix: str, items: _Items, width: int, hanging: int) -> list[str]:
    """The lines of one unit, with its comments above or behind it. Further lines are indented by `hanging` columns."""
    above, core, behind, below = _parted(items)
    hoisted, lines = _core(core, width - len(prefix)) if core else ([], [])
    lines = [f"{' ' * hanging if number else prefix}{line}" for number, line in enumerate(lines)]
    if behind and lines:
        lines[-1] += f" {behind}"
    return [*above, *hoisted, *lines, *below]


def _parted(items: _Items) -> tuple[list[str], _Items, str, list[str]]:
    """The comments above the items, the items, the comment on their last line, and the comments below."""
    first, last = 0, len(items)
    while first < last and _is_comment(items[first]):
        first += 1
    while last > first and _is_comment(items[last - 1]):
        last -= 1
    above, after = list(_comments(items[:first])), list(items[last:])
    behind = ""
    if after and isinstance(after[0], _Word) and not after[0].own_line and first < last:
        behind = after.pop(0).text  # type: ignore[union-attr]  # it is a comment
    return above, items[first:last], behind, list(_comments(after))


def _core(items: _Items, width: int) -> tuple[list[str], list[str]]:
    """The comments that must stand above the unit, and the unit's lines."""
    commented = _has_comment(items)
    if not commented:
        flat = _flat(items)
        if max(map(len, flat.split("\n"))) <= width:
            return [], [flat]
    parts = _split(items)
    if len(parts) > 1:
        return [], _chain(parts, width)
    if (place := _breakable(items)) is not None:
        return _broken(items, place, width)
    return list(_comments(items)), [_flat(_without_comments(items))]


def _split(items: _Items) -> list[tuple[str, _Items]]:
    """The operands of the weakest operator, each with the operator before it."""
    words = [item.text if isinstance(item, _Word) and not item.comment else "" for item in items]
    if "?" in words:
        question = words.index("?")
        colon = _colon(words, question)
        return [("", items[:question]), ("? ", items[question + 1 : colon]), (": ", items[colon + 1 :])]
    operator = "||" if "||" in words else "&&"
    places = [place for place, word in enumerate(words) if word == operator]
    parts: list[tuple[str, _Items]] = []
    start, prefix = 0, ""
    for place in [*places, len(items)]:
        parts.append((prefix, items[start:place]))
        start, prefix = place + 1, f"{operator} "
    return parts


def _colon(words: Sequence[str], question: int) -> int:
    """The position of the conditional's colon."""
    depth = 0
    for place in range(question, len(words)):
        depth += (words[place] == "?") - (words[place] == ":")
        if depth == 0:
            return place
    raise ValueError("a conditional without its colon")


def _chain(parts: list[tuple[str, _Items]], width: int) -> list[str]:
    lines: list[str] = []
    carried: list[_Item] = []
    for number, (prefix, items) in enumerate(parts):
        part = [*carried, *items]
        carried = []
        while number + 1 < len(parts) and part and isinstance(part[-1], _Word) and part[-1].own_line:
            carried.insert(0, part.pop())
        hanging = _HANGING if number or len(_split(part)) > 1 else 0
        lines += _block(prefix, part, width, hanging)
    return lines


def _breakable(items: _Items) -> int | None:
    """The position of the best brackets to break within: those with a comment, otherwise the longest."""
    groups = [
        (_has_comment(item.items), len(_flat(_without_comments(item.items))), -place)
        for place, item in enumerate(items)
        if isinstance(item, _Group) and _has_joint(item.items)
    ]
    return -max(groups)[2] if groups else None


def _has_joint(items: _Items) -> bool:
    for item in items:
        if isinstance(item, _Group):
            if _has_joint(item.items):
                return True
        elif item.comment or item.text in ("&&", "||", "?", ","):
            return True
    return False


def _broken(items: _Items, place: int, width: int) -> tuple[list[str], list[str]]:
    group = items[place]
    assert isinstance(group, _Group)  # noqa: S101 - as `_breakable` chose it
    before, after = items[:place], items[place + 1 :]
    head = _flat([*_without_comments(before), _Group(group.opening, (), group.attached)])[:-1]
    tail = _flat([_Group(group.opening, (), True), *_without_comments(after)])[1:]
    inner = _elements(group.items, width - _INDENT)
    return list(_comments([*before, *after])), [head, *(f"{' ' * _INDENT}{line}" for line in inner), tail]


def _elements(items: _Items, width: int) -> list[str]:
    """The content of brackets, with as many elements on a line as fit."""
    elements: list[list[_Item]] = [[]]
    for item in items:
        if item == _Word(","):
            elements.append([])
        elif _is_comment(item) and len(elements) > 1 and not elements[-1] and not item.own_line:  # type: ignore[union-attr]
            elements[-2].append(item)
        else:
            elements[-1].append(item)
    if len(elements) > 1 and not _has_comment(items):
        texts = [_flat(element) for element in elements]
        if max(map(len, texts)) < width and "\n" not in "".join(texts):
            return _filled(texts, width)
    lines: list[str] = []
    for number, element in enumerate(elements):
        comma = "," if number + 1 < len(elements) else ""
        lines += _with_comma(_block("", element, width, 0), element, comma)
    return lines


def _filled(texts: list[str], width: int) -> list[str]:
    lines = [""]
    for number, text in enumerate(texts):
        text += "," if number + 1 < len(texts) else ""
        if lines[-1] and len(lines[-1]) + 1 + len(text) > width:
            lines.append(text)
        else:
            lines[-1] += f"{' ' if lines[-1] else ''}{text}"
    return lines


def _with_comma(lines: list[str], element: _Items, comma: str) -> list[str]:
    """Put the comma before the comments that end the element."""
    _, _, behind, below = _parted(element)
    place = len(lines) - len(below) - 1
    if behind:
        lines[place] = f"{lines[place].removesuffix(f' {behind}')}{comma} {behind}"
    else:
        lines[place] += comma
    return lines


def _has_comment(items: _Items) -> bool:
    return any(_is_comment(item) or (isinstance(item, _Group) and _has_comment(item.items)) for item in items)


def _comments(items: _Items) -> Iterator[str]:
    for item in items:
        if isinstance(item, _Group):
            yield from _comments(item.items)
        elif item.comment:
            yield item.text


def _without_comments(items: _Items) -> list[_Item]:
    return [
        _Group(item.opening, tuple(_without_comments(item.items)), item.attached) if isinstance(item, _Group) else item
        for item in items
        if not _is_comment(item)
    ]
