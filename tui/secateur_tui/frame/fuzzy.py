"""Finds what somebody means by a few of its letters.

Textual's own search tries every way to place the letters, whose number explodes on a long text with repeated letters:
an expression of 2,000 characters would freeze the console. This one takes the first good place for each word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TypeVar

Item = TypeVar("Item")

_WORTH_LISTING = 0.6
"""How good, as a part of the best, an item must be: where a word is found, letters scattered over others are noise."""


def best(wanted: str, items: Iterable[Item], text: Callable[[Item], str]) -> list[tuple[Item, Sequence[int]]]:
    """The items whose text has every word of `wanted`, best first, each with the places of the letters found.

    A word is found as a whole, or as letters in the same order. Case does not matter. What is far from the best is left
    out. Equally good items keep their order, so an empty `wanted` returns all items unchanged.
    """
    words = wanted.lower().split()
    found: list[tuple[float, Item, Sequence[int]]] = []
    for item in items:
        candidate = text(item).lower()
        score, places = 0.0, set[int]()
        for word in words:
            if (placed := _place(word, candidate)) is None:
                break
            score += _score(placed, candidate)
            places.update(placed)
        else:
            found.append((score, item, sorted(places)))
    found.sort(key=lambda each: -each[0])
    least = _WORTH_LISTING * found[0][0] if found else 0.0
    return [(item, places) for score, item, places in found if score >= least]


def _place(word: str, candidate: str) -> Sequence[int] | None:
    """Where the word's letters are: together if possible, preferably where a word begins."""
    whole = candidate.find(word)
    at = whole
    while at != -1:
        if _begins(candidate, at):
            return range(at, at + len(word))
        at = candidate.find(word, at + 1)
    if whole != -1:
        return range(whole, whole + len(word))
    places: list[int] = []
    for letter in word:
        at = candidate.find(letter, places[-1] + 1 if places else 0)
        if at == -1:
            return None
        places.append(at)
    return places


def _score(places: Sequence[int], candidate: str) -> float:
    """More for letters that stand together, that begin words, and that make up more of the text."""
    together = sum(after == before + 1 for before, after in pairwise(places))
    beginning = sum(_begins(candidate, place) for place in places)
    return 2.0 * (together + beginning) + len(places) / len(candidate)


def _begins(candidate: str, place: int) -> bool:
    return candidate[place].isalnum() and (place == 0 or not candidate[place - 1].isalnum())
