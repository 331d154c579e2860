"""The two ends of a window: typed as ISO or relative times, and shown as UTC times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Input, Label, Static

from secateur.errors import UsageError
from secateur.instants import readable
from secateur.runs import Window
from secateur.times import resolve_time
from secateur.words.figures import duration
from secateur.words.lines import one_line
from secateur_tui.keymap import display_of
from secateur_tui.themes import toned

_AT_COMMIT = "now"
"""Leaves the end open, as an empty field does; the window then ends at the commit."""
_ORDER = "must be later than started after"
_STANDING_KEY = display_of("filter.standing")


class WindowFields(Vertical):
    """Two fields. Relative times are resolved once, when they are typed, by the database's clock.

    An end in the future needs a standing cancellation, which has to be requested: `toggle_standing`.
    """

    @dataclass
    class Changed(Message):
        """A field was edited; `window` is None while one of the fields is invalid."""

        window: Window | None

    def __init__(
        self,
        started_after: str,
        started_before: str,
        now: Callable[[], datetime],
        zone: tzinfo,
        *,
        standing: bool = False,
        may_stand: bool = True,
    ) -> None:
        super().__init__(id="window", classes="panel")
        self._texts = {"started_after": started_after, "started_before": started_before}
        self._now, self._zone = now, zone
        self._resolved: dict[str, datetime | None] = {"started_after": None, "started_before": None}
        self._wrong: dict[str, str] = {}
        self._standing, self._may_stand = standing, may_stand
        self._was_ahead = False
        self._limit: timedelta | None = None

    @property
    def is_ahead(self) -> bool:
        """Whether the window ends in the future, as of now."""
        before = self._resolved["started_before"]
        return before is not None and before > self._now()

    @property
    def standing(self) -> bool:
        """Whether a standing cancellation was requested, and its window ends in the future."""
        return self._standing and self.is_ahead

    @property
    def texts(self) -> dict[str, str]:
        """Both fields as typed."""
        return dict(self._texts)

    @property
    def window(self) -> Window | None:
        """The two times; None while a field is invalid."""
        if self._wrong:
            return None
        return Window(self._resolved["started_after"], self._resolved["started_before"])

    def compose(self) -> ComposeResult:
        for field in self._texts:
            with Horizontal():
                yield Label(field.replace("_", " "))
                yield Input(
                    self._texts[field],
                    id=field,
                    compact=True,
                    select_on_focus=False,
                    placeholder="any time" if field == "started_after" else "now",
                )
                yield Static(id=f"{field}-meaning", classes="meaning", markup=False)
        yield Static(id="standing", markup=False)

    def on_mount(self) -> None:
        self.border_subtitle = "both ends exclusive · -2h, yesterday 14:00, 2026-01-21T00:00:00Z"
        for field in self._texts:
            self._resolve(field)

    @on(Input.Changed)
    def _edited(self, event: Input.Changed) -> None:
        event.stop()
        field = event.input.id or ""
        if event.value == self._texts[field]:
            return
        self._texts[field] = event.value
        self._resolve(field)
        self.post_message(self.Changed(self.window))

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        self.screen.focus_next()

    def fill_in(self, started_after: str, started_before: str) -> None:
        """As if somebody had typed both."""
        for field, text in (("started_after", started_after), ("started_before", started_before)):
            self.query_one(f"#{field}", Input).value = text

    def toggle_standing(self) -> None:
        """Request a standing cancellation, or withdraw the request."""
        self._standing = self.is_ahead and not self._standing
        self._say("started_before")
        self.post_message(self.Changed(self.window))

    def limit_standing(self, limit: timedelta) -> None:
        """Set how far in the future the database lets a window end."""
        self._limit = limit
        if self.is_ahead:
            self._resolve_again()

    def look_at_the_clock(self) -> None:
        """Check again, because a time in the future may have become the past."""
        if self._was_ahead and not self.is_ahead:
            self._resolve_again()

    def _resolve_again(self) -> None:
        """Check both ends again; relative times are not resolved again."""
        self._check_ends()
        self.post_message(self.Changed(self.window))

    def _resolve(self, field: str) -> None:
        text = self._texts[field].strip()
        self._wrong.pop(field, None)
        self._resolved[field] = None
        if text and not (field == "started_before" and text.lower() == _AT_COMMIT):
            try:
                self._resolved[field] = resolve_time(text, self._now(), self._zone)
            except UsageError as error:
                self._wrong[field] = str(error)
        if field == "started_before" and field not in self._wrong and not self.is_ahead:
            # If the end moves back into the future, standing has to be requested again.
            self._standing = False
        self._check_ends()

    def _check_ends(self) -> None:
        """Two valid ends may still be in the wrong order, or reach too far into the future."""
        after, before = self._resolved["started_after"], self._resolved["started_before"]
        if before is not None:
            self._wrong.pop("started_before", None)
            if after is not None and after >= before:
                self._wrong["started_before"] = _ORDER
            elif not self._may_stand and self.is_ahead:
                self._wrong["started_before"] = "must be in the past"
            elif self._limit is not None and before > self._now() + self._limit:
                self._wrong["started_before"] = f"may be at most {duration(self._limit.total_seconds())} ahead"
        for each in self._texts:
            self._say(each)

    def _say(self, field: str) -> None:
        moment = self._resolved[field]
        if field in self._wrong:
            meaning = toned((f"✗ {one_line(self._wrong[field])}", "error"))
        elif moment is not None:
            meaning = toned((f"→ {readable(moment, digits=0)}", "plain"))
        else:
            meaning = toned(("→ at the commit" if field == "started_before" else "→ no limit", "quiet"))
        self.query_one(f"#{field}-meaning", Static).update(meaning)
        if field == "started_before":
            self._say_standing()

    def _say_standing(self) -> None:
        """What an end in the future means, and the key to press."""
        self._was_ahead = self.is_ahead
        line = self.query_one("#standing", Static)
        line.display = self._was_ahead and "started_before" not in self._wrong
        if self.standing:
            told = ("◆ STANDING: also cancels what arrives until then", "count")
            line.update(toned(told, (f" · {_STANDING_KEY} takes it back", "quiet")))
        else:
            told = ("! in the future: ", "warn")
            line.update(toned(told, (f"{_STANDING_KEY} makes it standing, and cancels what arrives too", "plain")))

    def complain(self, field: str, message: str) -> None:
        """Show what the request's own check found wrong with a field."""
        self.query_one(f"#{field}-meaning", Static).update(toned((f"✗ {one_line(message)}", "error")))
