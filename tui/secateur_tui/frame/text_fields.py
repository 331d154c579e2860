"""Which widgets take what is typed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from textual.widget import Widget
from textual.widgets import Input

if TYPE_CHECKING:
    from textual.widgets import TextArea
    from typing_extensions import TypeIs


def is_text_field(widget: Widget | None) -> TypeIs[Input | TextArea]:
    """Whoever shows a `TextArea` imports it; the first screen has none, and would wait for a dozen modules."""
    if isinstance(widget, Input):
        return True
    # Another thread may be importing it just now: until then no widget is one.
    area = getattr(sys.modules.get("textual.widgets._text_area"), "TextArea", None)
    return area is not None and isinstance(widget, area)
