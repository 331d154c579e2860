"""Fits text from outside on one line, in a given number of terminal cells."""

from __future__ import annotations


def one_line(text: str) -> str:
    """The text with unprintable characters as escapes, so that it can neither break the line nor steer the terminal."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def cells(text: str) -> int:
    """The text's width in terminal cells."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # importing it takes as long as all the rest that `--help` needs

    return cell_len(text)


def shorten(text: str, width: int) -> str:
    """The text on one line of at most `width` cells; if it is longer, it ends in an ellipsis."""
    text = one_line(text)
    return text if cells(text) <= width else _cut(text, width)


def shorten_middle(text: str, length: int = 200) -> str:
    """About `length` characters at most, without the middle, for names in messages, which can be of any length."""
    half = length // 2
    return text if len(text) <= length else f"{text[:half]}…{text[-half:]}"


def shorten_middle_to(text: str, width: int) -> str:
    """The text on one line of at most `width` cells; if it is longer, an ellipsis stands for its middle."""
    text = one_line(text)
    if cells(text) <= width:
        return text
    end = max(0, (width - 1) // 2)
    tail = text[len(text) - end :]
    while cells(tail) > end:
        tail = tail[1:]
    return shorten(text, width - cells(tail)) + tail


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Exactly `width` cells: padded, or cut with an ellipsis."""
    length = cells(text)
    if length > width:
        return _cut(text, width)
    padding = " " * (width - length)
    return padding + text if right else text + padding


def _cut(text: str, width: int) -> str:
    if width <= 0:
        return ""
    if text.isascii():
        return f"{text[: width - 1]}…"
    from rich.cells import set_cell_size

    return f"{set_cell_size(text, width - 1)}…"
