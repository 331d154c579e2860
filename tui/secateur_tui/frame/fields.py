"""Fields of events as columns of a table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from secateur.cel.authoring.picking import MISSING
from secateur.words.lines import shorten
from secateur.words.tables import Column
from secateur_tui.frame.columns import Cell

Path = tuple[str, ...]
"""Keys below `event`."""

_LONGEST_VALUE = 60


def look_up(event: Any, path: Path) -> Any:
    """The value of a field, or `MISSING`."""
    for key in path:
        event = event.get(key, MISSING) if isinstance(event, dict) else MISSING
    return event


def field_column(path: Path, rank: int, events: Iterable[Any]) -> Column:
    """Numbers are aligned at the right, if all of the events' values there are numbers."""
    name = ".".join(path)
    found = [value for event in events if (value := look_up(event, path)) is not MISSING]
    right = bool(found) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in found)
    return Column(name, name, path[-1], right=right, minimum=6, shrinks_to=6, rank=rank)


def field_cell(event: Any, path: Path, *, missing: Cell) -> Cell:
    """The value on one line."""
    found = look_up(event, path)
    if found is MISSING:
        return missing
    text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    return Cell(shorten(text[: _LONGEST_VALUE + 1], _LONGEST_VALUE), "field")


def plain_fields(events: Iterable[Any], most: int) -> Sequence[Path]:
    """The plain fields that most of the events have in their data, in the events' own order."""
    had: Counter[Path] = Counter()
    for event in events:
        data = event.get("data") if isinstance(event, dict) else None
        if isinstance(data, dict):
            had.update(("data", key) for key, value in data.items() if not isinstance(value, dict | list))
    return [path for path, _ in had.most_common(most)]
