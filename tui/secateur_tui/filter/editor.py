"""The editor of an expression: highlighting, completion and pairing while somebody types."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.style import Style as RichStyle
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.style import Style
from textual.widgets import TextArea
from textual.widgets.text_area import TextAreaTheme

from secateur.cel import highlight
from secateur.cel.authoring.completion import Completion
from secateur_tui.filter import pairing
from secateur_tui.filter.completing import CompletionList
from secateur_tui.keymap import actions_of, bindings_of
from secateur_tui.themes import SYNTAX

LONGEST_COLOURED = 2_000
"""The longest text that is coloured and gets suggestions, in characters. For each row on the screen, Textual lays out
all colours of the line, which takes a second for ten thousand characters."""


_LONGEST_TYPED = 200
"""Characters at once that somebody may have typed; more are a paste, which brings its own brackets."""
_NOT_OURS = ("f6", "f7")
"""Textual selects text with these, and the next letter replaces it."""


class ExpressionEditor(TextArea, inherit_bindings=False):
    """A text area that colours the expression language, whatever the text is for.

    `complete` gives the completions at an offset of a text, and `candidates` shows them. Grey text after the cursor is
    what a key would add: the rest of the word or, while there is no text, the `suggested_filter`. As long as
    `is_looking` for one, that key waits for it, so that the same keys mean the same on a slow day.
    """

    class Waiting(Message):
        """It waits for the suggested filter, or no longer."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *(each for each in TextArea.BINDINGS if not (isinstance(each, Binding) and each.key in _NOT_OURS)),
        *bindings_of("completion", priority=True),
        *bindings_of("editor"),
    ]

    def __init__(
        self,
        text: str,
        *,
        complete: Callable[[str, int], Completion] | None = None,
        candidates: CompletionList | None = None,
        is_looking: Callable[[], bool] = lambda: False,
        id: str | None = None,
    ) -> None:
        self._wrong: tuple[tuple[int, int], ...] = ()
        self._is_coloured = False
        self._follows = False
        self._complete, self._candidates = complete, candidates
        self._is_looking = is_looking
        self._is_waiting = False
        self.missed = False
        """Somebody asked for a suggested filter by its key, and there was none."""
        self._suggested_filter = ""
        super().__init__(text, id=id, compact=True, tab_behavior="focus", highlight_cursor_line=False)
        self.cursor_blink = False

    def on_mount(self) -> None:
        self._colour()
        self.app.theme_changed_signal.subscribe(self, lambda _: self._colour())

    def _colour(self) -> None:
        """Take the syntax colours from the app's theme."""
        styles: dict[str, RichStyle] = {kind: Style.parse(look).rich_style for kind, look in SYNTAX.items()}
        self.register_theme(TextAreaTheme("expression", syntax_styles=styles))
        if self.theme == "expression":
            self.theme = "css"
        self.theme = "expression"

    @property
    def offset_in_text(self) -> int:
        """The cursor's offset, in code points."""
        row, column = self.cursor_location
        return sum(len(line) + 1 for line in self.text.split("\n")[:row]) + column

    @property
    def suggested_filter(self) -> str:
        """A whole expression, offered while there is no text."""
        return self._suggested_filter

    @suggested_filter.setter
    def suggested_filter(self, expression: str) -> None:
        self._suggested_filter = expression
        self.update_suggestion()
        is_wanted = self._is_waiting and not self.text
        self.no_longer_wait()
        if is_wanted and self.suggestion:
            self.action_take_grey()

    @property
    def can_wait(self) -> bool:
        """Whether a suggested filter may still come, that nobody waits for yet."""
        return not self.text and not self.is_waiting and self._is_looking()

    def no_longer_wait(self) -> None:
        """There is an answer. Whoever waits for a suggestion, and gets none, has to be told."""
        self.missed = (self.missed or self._is_waiting) and not self.suggestion
        self.is_waiting = False

    def watch_suggestion(self, before: str, now: str) -> None:
        if bool(before) != bool(now) and self.is_attached:
            self.screen.refresh_bindings()

    @property
    def is_waiting(self) -> bool:
        """Whether the suggested filter is taken as soon as it is there."""
        return self._is_waiting

    @is_waiting.setter
    def is_waiting(self, waiting: bool) -> None:
        if waiting != self._is_waiting:
            self._is_waiting = waiting
            self.post_message(self.Waiting())

    def update_suggestion(self) -> None:
        """What the best candidate would add, in grey after the cursor; only at the end of a line."""
        self.suggestion = ""
        if not self.text:
            self.suggestion = self._suggested_filter
            return
        if self._complete is not None and self.selection.is_empty and self._only_closers_follow:
            text, offset = self.text, self.offset_in_text
            if len(text) > LONGEST_COLOURED:
                return
            self.suggestion = self._complete(text, offset).ghost(text, offset)

    @property
    def _only_closers_follow(self) -> bool:
        """Whether nothing, or only what closes by itself, stands behind the cursor in its line."""
        row, column = self.cursor_location
        return set(self.document.get_line(row)[column:].rstrip()) <= pairing.CLOSERS

    async def _on_key(self, event: events.Key) -> None:
        if event.character is not None and event.is_printable and self.selection.is_empty and not self.read_only:
            event.stop()
            event.prevent_default()
            self.take_typed(event.character)
        else:
            await super()._on_key(event)

    def take_typed(self, text: str) -> None:
        """Insert what was typed, with what closes it; as one edit."""
        if not self.selection.is_empty or len(text) > _LONGEST_TYPED:
            self.insert(text)
            return
        row, column = self.cursor_location
        line = self.document.get_line(row)
        before, after = line[:column], line[column:]
        for character in text:
            before, after = pairing.typed(before, after, character)
        self._rewrite_line(row, column, line, before, after)

    def action_delete_to_start_of_line(self) -> None:
        if not self._erase_back_to(self.get_cursor_line_start_location()):
            super().action_delete_to_start_of_line()

    def action_delete_word_left(self) -> None:
        if not self._erase_back_to(self.get_cursor_word_left_location()):
            super().action_delete_word_left()

    def _erase_back_to(self, place: tuple[int, int]) -> bool:
        """Erase what is before the cursor, with what closes it; False where that is not a part of the line alone."""
        row, column = self.cursor_location
        if self.read_only or not self.selection.is_empty or not (row, 0) <= place < (row, column):
            return False
        line = self.document.get_line(row)
        self._rewrite_line(row, column, line, *pairing.erased_back(line[:column], place[1], line[column:]))
        return True

    def action_delete_left(self) -> None:
        row, column = self.cursor_location
        line = self.document.get_line(row)
        erased = pairing.erased(line[:column], line[column:]) if self.selection.is_empty else None
        if erased is None:
            super().action_delete_left()
        else:
            self._rewrite_line(row, column, line, *erased)

    def _rewrite_line(self, row: int, column: int, line: str, before: str, after: str) -> None:
        """Change only what differs on both sides of the cursor, which goes between `before` and `after`."""
        kept = _alike(before, line[:column])
        same_end = _alike(after[::-1], line[column:][::-1])
        end = len(line) - same_end
        self.replace(before[kept:] + after[: len(after) - same_end], (row, kept), (row, end))
        self.move_cursor((row, len(before)))

    def on_text_area_selection_changed(self) -> None:
        if self.text:
            self.is_waiting = self.missed = False
        # Once for all keys that have arrived by then, because a long text takes a while to parse.
        if not self._follows:
            self._follows = True
            self.call_after_refresh(self._follow)

    def _follow(self) -> None:
        self._follows = False
        self.update_suggestion()
        self._offer_again()

    def on_blur(self) -> None:
        self.is_waiting = False
        self.action_close()

    def offer(self) -> bool:
        """Open the list of completions at the cursor; whether there are any."""
        if self._complete is None or self._candidates is None:
            return False
        completion = self._complete(self.text, self.offset_in_text)
        if not completion.candidates:
            self.action_close()
            return False
        self._candidates.offer(completion, self.cursor_screen_offset)
        self.screen.refresh_bindings()
        return True

    def sampled(self) -> None:
        """More fields and values are known now."""
        self.update_suggestion()
        if self._candidates is not None and self._candidates.is_open:
            self.offer()

    @property
    def unfinished(self) -> str:
        """The word at the cursor as the grey text would complete it; empty where there is none."""
        if not self.text or not self.suggestion or self._complete is None:
            return ""
        text, offset = self.text, self.offset_in_text
        start = self._complete(text, offset).start
        return text[start:offset] + self.suggestion

    def _offer_again(self) -> None:
        """While the list is open, it follows the word being typed, and closes when the word ends."""
        if self._complete is None or self._candidates is None or self._candidates.completion is None:
            return
        before, text = self._candidates.completion, self.text
        completion = self._complete(text, self.offset_in_text)
        if completion.start == before.start or text[completion.start - 1 : completion.start] == ".":
            self.offer()
        else:
            self.action_close()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in _COMPLETING:
            return self._candidates is not None and self._candidates.is_open
        if action == "take_grey":
            return bool(self.suggestion) or self.can_wait
        return True

    def action_take_grey(self) -> None:
        """Behind the whole of a text in quotes, the cursor leaves the quotes."""
        if not self.suggestion:
            self.is_waiting = True
            return
        text, offset = self.text, self.offset_in_text
        self.insert(self.suggestion)
        if text and pairing.open_quote(text[:offset]) is not None and text[offset : offset + 1] in ("'", '"'):
            self.move_cursor_relative(columns=1)

    def action_cursor_right(self, select: bool = False) -> None:
        if self.suggestion and not select:
            self.action_take_grey()
        else:
            super().action_cursor_right(select)

    def action_take(self) -> None:
        candidates = self._candidates
        if candidates is None or candidates.completion is None or (candidate := candidates.chosen) is None:
            return
        text, offset = candidates.completion.apply(self.text, candidate)
        self.action_close()
        self.rewrite(text, offset)
        if candidate.insert.endswith("."):
            self.offer()

    def rewrite(self, text: str, offset: int | None = None) -> None:
        """Replace the text, as one edit that can be undone; the cursor goes to `offset`, or to the end."""
        self.replace(text, self.document.start, self.document.end)
        before = text[: len(text) if offset is None else offset]
        self.move_cursor((before.count("\n"), len(before) - (before.rfind("\n") + 1)))

    def action_down(self) -> None:
        if self._candidates is not None:
            self._candidates.action_cursor_down()

    def action_up(self) -> None:
        if self._candidates is not None:
            self._candidates.action_cursor_up()

    def action_close(self) -> None:
        if self._candidates is not None and self._candidates.is_open:
            self._candidates.close()
            self.screen.refresh_bindings()

    def mark(self, spans: Sequence[tuple[int, int]]) -> None:
        """Underline these places (code points, end exclusive) until the next call."""
        if tuple(spans) != self._wrong:
            self._wrong = tuple(spans)
            self._build_highlight_map()
            self.refresh()

    def _build_highlight_map(self) -> None:
        # Textual colours only languages with a tree-sitter grammar. This hook is private (hence textual<9). It is run
        # on every edit; the colours are needed only when the next line is drawn.
        super()._build_highlight_map()
        self._is_coloured = False

    def get_line(self, line_index: int) -> Text:
        if not self._is_coloured:
            self._is_coloured = True
            self._colour_text()
        return super().get_line(line_index)

    def _colour_text(self) -> None:
        """Fill Textual's map of highlights: per line, UTF-8 byte columns."""
        text = self.text
        starts = [0]
        for line in text.split("\n"):
            starts.append(starts[-1] + len(line) + 1)
        row = 0
        for start, end, kind in sorted(highlight(text)) if len(text) <= LONGEST_COLOURED else ():
            while starts[row + 1] <= start:
                row += 1
            self._paint(text, starts, row, start, end, kind)
        for start, end in self._wrong:
            row = bisect_right(starts, start) - 1
            self._paint(text, starts, row, start, max(end, start + 1), "error")

    def _paint(self, text: str, starts: list[int], row: int, start: int, end: int, kind: str) -> None:
        """Colour a span that may run over several lines."""
        while start < end and row + 1 < len(starts):
            begin, stop = starts[row], min(end, starts[row + 1] - 1)
            if stop > start:
                first = len(text[begin:start].encode())
                self._highlights[row].append((first, first + len(text[start:stop].encode()), kind))
            row += 1
            start = starts[row]


def _alike(one: str, other: str) -> int:
    """How many characters at their beginnings are the same."""
    return next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


_COMPLETING = frozenset(each.method for each in actions_of("completion"))
