"""A table that draws only the rows on the screen and repaints only changed ones, so it may have any number of rows."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from textual import events
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.style import Style

from secateur_tui.frame.telling import alike
from secateur_tui.keymap import bindings_of
from secateur_tui.themes import TONES

_GUTTER = 2


@dataclass(frozen=True, slots=True)
class TableRow:
    key: Hashable
    """Identifies the row; the cursor stays with it when rows move."""
    line: Content


class LineTable(ScrollView, can_focus=True):
    """Rows of ready-made lines under a heading that stays, with a cursor; subclasses make the lines."""

    BINDINGS = bindings_of("list")

    @dataclass
    class Moved(Message):
        """The cursor is on another row."""

        table: LineTable
        key: Hashable

        @property
        def control(self) -> LineTable:
            return self.table

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._heading = Content("")
        self._footing: Content | None = None
        self._keys: Sequence[Hashable] = ()
        self._line_of_row: Callable[[int], Content] = _no_line
        self._drawn: dict[int, Content] = {}
        """The lines on the screen as they were last drawn, by the index of their rows."""
        self._cursor = 0

    gutter_width = _GUTTER
    """Cells before each line, for the cursor's mark."""

    @property
    def line_width(self) -> int:
        """The width available for a line, in cells."""
        return max(1, self.scrollable_content_region.width - _GUTTER)

    @property
    def keys(self) -> Sequence[Hashable]:
        """The keys of all rows, in order."""
        return self._keys

    @property
    def cursor_key(self) -> Hashable | None:
        return self._keys[self._cursor] if self._keys else None

    def move_to(self, key: Hashable) -> None:
        """Put the cursor on that row, if it exists."""
        if (index := self._index_of(key)) is not None:
            self._move(index)
            self._reveal()

    def show_lines(self, heading: Content, rows: Sequence[TableRow], footing: Content | None = None) -> None:
        """Show these rows; only lines that differ are painted again."""
        lines = [row.line for row in rows]
        self.show_rows(heading, [row.key for row in rows], lines.__getitem__, footing)

    def show_rows(
        self,
        heading: Content,
        keys: Sequence[Hashable],
        line_of: Callable[[int], Content],
        footing: Content | None = None,
    ) -> None:
        """Show rows with these keys; `line_of` makes the line of a row by its index, when it comes into sight.

        Only lines that differ are painted again.
        """
        count, top = len(self._keys), self._line_of(0)
        selected, selected_index = self.cursor_key, self._cursor
        heading_changed = not alike(heading, self._heading)
        footing_changed = not alike(footing, self._footing)
        self._heading, self._keys, self._footing = heading, keys, footing
        self._line_of_row = line_of
        found = self._index_of(selected)
        self._cursor = max(0, min(selected_index, len(keys) - 1)) if found is None else found
        drawn, self._drawn = self._drawn, {}
        self._resize()
        if heading_changed or len(keys) != count or top != self._line_of(0):
            self.refresh()
        else:
            moved = {selected_index, self._cursor} if selected_index != self._cursor else set()
            shown = range(self.scroll_offset.y, self.scroll_offset.y + self.size.height)
            others = {index for index in drawn if index in shown and not alike(self._line(index), drawn[index])}
            for index in others | moved:
                self.refresh_line(self._line_of(index))
            if footing_changed:
                self.refresh_line(self.size.height - 1 + self.scroll_offset.y)
        if self._cursor != selected_index or len(keys) != count:
            # A key must never act on a row that is out of sight.
            self.call_after_refresh(self._reveal)
        if self.cursor_key != selected:
            self.post_message(self.Moved(self, self.cursor_key))

    def _line(self, index: int) -> Content:
        """The line of a visible row, made only once however often it is drawn."""
        line = self._drawn.get(index)
        if line is None:
            line = self._drawn[index] = self._line_of_row(index)
        return line

    def on_resize(self) -> None:
        self.call_after_refresh(self._reveal)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        base = Style.from_styles(self.styles)
        if self._footing is not None and y == self.size.height - 1:
            return self._strip(Content(" " * _GUTTER) + self._footing, base, width)
        more = Content.styled(self._more(y), TONES["quiet"])
        if y == 0:
            return self._strip(more + Content(" ") + self._heading, base, width)
        index = y - 1 + self.scroll_offset.y
        if not 0 <= index < len(self._keys):
            return Strip.blank(width, base.rich_style)
        if index != self._cursor:
            return self._strip(more + Content(" ") + self._line(index), base, width)
        mark = Content.styled("▌", TONES["key"] if self.has_focus else TONES["quiet"]) + more
        if self.has_focus:
            # A style that stands out from the terminal's background also does so reversed.
            base += Style.parse("reverse" if self.app.native_ansi_color else "on $row-cursor")
        return self._strip(mark + self._line(index), base, width)

    def _more(self, y: int) -> str:
        """Without a scrollbar, an arrow says in the first and the last line that rows lie beyond."""
        top = self.scroll_offset.y
        if self.styles.scrollbar_size_vertical == 0:
            if y == 0 and top > 0:
                return "↑"
            if y == self._room and top + self._room < len(self._keys):
                return "↓"
        return " "

    @property
    def _room(self) -> int:
        """Lines for rows: the others are the heading's and the footing's."""
        return max(1, self.size.height - (1 if self._footing is None else 2))

    def _strip(self, content: Content, base: Style, width: int) -> Strip:
        segments = content.render_segments(base)
        return Strip(segments).adjust_cell_length(width, base.rich_style)

    def _line_of(self, index: int) -> int:
        return index + 1

    def _index_of(self, key: Hashable | None) -> int | None:
        """The index of the row with that key: mostly where the cursor was."""
        if self._cursor < len(self._keys) and self._keys[self._cursor] == key:
            return self._cursor
        return next((index for index, each in enumerate(self._keys) if each == key), None)

    def _resize(self) -> None:
        fixed = 1 if self._footing is None else 2
        size = Size(self.scrollable_content_region.width, len(self._keys) + fixed)
        if size != self.virtual_size:
            # Other rows move nothing but the thumb of the bar. Textual would lay out the whole screen anew, which takes
            # as long as all else that a keystroke does. The hooks are private (hence textual<9).
            self.set_reactive(LineTable.virtual_size, size)
            self._scroll_update(size)

    def _move(self, index: int) -> None:
        index = max(0, min(index, len(self._keys) - 1))
        if index == self._cursor or not self._keys:
            return
        for line in (self._line_of(self._cursor), self._line_of(index)):
            self.refresh_line(line)
        self._cursor = index
        self._reveal()
        self.post_message(self.Moved(self, self.cursor_key))

    def _reveal(self) -> None:
        room, top = self._room, self.scroll_offset.y
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False)
        elif self._cursor >= top + room:
            self.scroll_to(y=self._cursor - room + 1, animate=False)

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        self.refresh_line(self._line_of(self._cursor))

    def on_click(self, event: events.Click) -> None:
        if 0 < event.y <= len(self._keys) - self.scroll_offset.y:
            self._move(event.y - 1 + self.scroll_offset.y)

    def action_up(self) -> None:
        self._move(self._cursor - 1)

    def action_down(self) -> None:
        self._move(self._cursor + 1)

    def action_first(self) -> None:
        self._move(0)

    def action_last(self) -> None:
        self._move(len(self._keys) - 1)

    def action_page_up(self) -> None:
        self._move(self._cursor - max(1, self.size.height - 3))

    def action_page_down(self) -> None:
        self._move(self._cursor + max(1, self.size.height - 3))


def _no_line(index: int) -> Content:
    return Content("")
