"""Text that changes often, and hardly ever its height."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static


def tell(widget: Static, told: Content) -> bool:
    """Show the text. The screen is laid out anew, and all of it drawn, only if the text takes another number of lines;
    returns whether.
    """
    width, height = widget.content_size
    widget.update(told, layout=False)
    is_as_high = bool(width) and widget.visual.get_height(widget.styles.get_rules(), width) == height
    if not is_as_high:
        widget.refresh(layout=True)
    return not is_as_high
