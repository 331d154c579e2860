"""Text that changes often but hardly ever changes its height."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static


def alike(one: Content | None, other: Content | None) -> bool:
    """Whether both have the same text in the same looks: `==` compares the text alone."""
    return one is other if one is None or other is None else one.is_same(other)


def tell(widget: Static, told: Content) -> bool:
    """Show the text. Only if its number of lines changes, the whole screen is laid out and drawn again; returns whether
    it was.
    """
    width, height = widget.content_size
    widget.update(told, layout=False)
    is_as_high = bool(width) and widget.visual.get_height(widget.styles.get_rules(), width) == height
    if not is_as_high:
        widget.refresh(layout=True)
    return not is_as_high
