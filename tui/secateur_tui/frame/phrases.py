"""Lines of phrases: what belongs together is not broken in two."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content


def side_by_side(parts: Sequence[Content], width: int, *, gap: str = "   ", indent: str = "") -> list[Content]:
    """As many parts to a line as fit, `gap` between them; the lines after the first begin with `indent`."""
    lines = [parts[0]]
    for part in parts[1:]:
        longer = lines[-1] + Content(gap) + part
        lines[-1:] = [longer] if longer.cell_length <= width else [lines[-1], Content(indent) + part]
    return lines
