"""The two ends of a window: typed as ISO or relative times, and shown as UTC times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Container, Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Label, Static

from secateur.runs import Window
from secateur.times import TimeError, resolve_time, time_in_words
from secateur.words.figures import duration
from secateur.words.lines import one_line
from secateur_tui.frame.rule import Rule
from secateur_tui.keymap import display_of
from secateur_tui.themes import toned

_AT_COMMIT = "now"
"""Leaves the end open, as an empty field does; the window then ends at the commit."""
_LABELS = {"started_after": "from", "started_before": "until"}
_ORDER = "must be later than from"
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
        super().__init__(id="window", classes="section")
        self._texts = {"started_after": started_after, "started_before": started_before}
        self._now, self._zone = now, zone
        self._resolved: dict[str, datetime | None] = {"started_after": None, "started_before": None}
        self._wrong: dict[str, str] = {}
        self._standing, self._may_stand = standing, may_stand
        self._was_ahead = False
        self._limit: timedelta | None = None
        self._rule = Rule(keeps_note=True)
        self._meanings = dict.fromkeys(self._texts, Content(""))

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

    @property
    def arrived(self) -> Window | None:
        """The window as far as it has arrived: an end in the future is left open. None while a field is invalid."""
        window = self.window
        return Window(window.started_after, None) if window is not None and self.is_ahead else window

    def compose(self) -> ComposeResult:
        yield self._rule
        with Container(id="ends"):
            for field in self._texts:
                with Horizontal():
                    yield Label(_LABELS[field])
                    yield Input(
                        self._texts[field],
                        id=field,
                        compact=True,
                        select_on_focus=False,
                        placeholder="any time" if field == "started_after" else "now",
                    )
                    yield Static(id=f"{field}-meaning", classes="meaning", markup=False)

    def title(self, title: str) -> None:
        """Show in the rule above whose runs these are."""
        self._rule.show(title)

    def on_mount(self) -> None:
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
        """Fill in both fields, as if somebody had typed them."""
        for field, text in (("started_after", started_after), ("started_before", started_before)):
            self.query_one(f"#{field}", Input).value = text

    def set_range(self, first: datetime | None, last: datetime | None) -> None:
        """Write the ends of a range into the fields; None leaves that end as it is. Whole seconds around the range."""
        second = timedelta(seconds=1)
        if first is not None:
            down = first.replace(microsecond=0)
            self._write("started_after", down if down < first else down - second)
        if last is not None:
            down = last.replace(microsecond=0)
            self._write("started_before", down + second)

    def _write(self, field: str, moment: datetime) -> None:
        self.query_one(f"#{field}", Input).value = f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"

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
            except TimeError as error:
                self._wrong[field] = error.why
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
            meaning = toned((f"= {time_in_words(moment, self._now())}", "plain"))
        else:
            meaning = toned(("= at the commit" if field == "started_before" else "= no limit", "quiet"))
        self._mean(field, meaning)
        if field == "started_before":
            self._was_ahead = self.is_ahead

    def complain(self, field: str, message: str) -> None:
        """Show a problem that the request's own check found in a field."""
        self._mean(field, toned((f"✗ {one_line(message)}", "error")))

    def _mean(self, field: str, meaning: Content) -> None:
        """Show the meaning beside the field; if there is no room, in the rule, for the field that matters most."""
        self._meanings[field] = meaning
        self.query_one(f"#{field}-meaning", Static).update(meaning, layout=False)
        self._note()

    @on(events.DescendantFocus)
    @on(events.DescendantBlur)
    def _moved(self) -> None:
        self.call_later(self._note)

    def on_resize(self) -> None:
        self._note()

    def _note(self) -> None:
        focused = self.screen.focused
        if self.is_ahead and "started_before" not in self._wrong:
            self._rule.note(self._standing_note())
        elif (wrong := next(iter(self._wrong), None)) is not None and not self._has_room(wrong):
            self._rule.note(self._meanings[wrong])
        elif not self.screen.has_class("-low"):
            self._rule.note("")
        elif focused is not None and focused.id in self._meanings:
            self._rule.note(self._meanings[focused.id])
        else:
            self._rule.note("")

    def _has_room(self, field: str) -> bool:
        """Whether what is said of a field fits behind it."""
        return self._meanings[field].cell_length < self.query_one(f"#{field}-meaning").size.width

    def _standing_note(self) -> Content:
        """What an end in the future means, and the key to press."""
        if self.standing:
            return toned(("◆ STANDING: also cancels what arrives", "count"))
        return toned(("! in the future: ", "warn"), (f"{_STANDING_KEY} makes it standing", "plain"))
