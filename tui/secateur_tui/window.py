"""The two ends of a window: typed as ISO or relative times, shown as the UTC instants they mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, tzinfo

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Input, Label, Static

from secateur.errors import UsageError
from secateur.runs import Window
from secateur.times import resolve_time
from secateur_tui.figures import instant, one_line
from secateur_tui.themes import toned

_AT_COMMIT = "now"
"""Leaves the end open, as an empty field does: a cancellation then reaches up to its own commit."""
_ORDER = "must be later than started after"


class WindowFields(Vertical):
    """Two fields. Relative times are resolved once, when they are typed, by the database's clock."""

    @dataclass
    class Changed(Message):
        """A field was edited; `window` is None while one of them makes no sense."""

        window: Window | None

    def __init__(self, started_after: str, started_before: str, now: Callable[[], datetime], zone: tzinfo) -> None:
        super().__init__(id="window", classes="panel")
        self._texts = {"started_after": started_after, "started_before": started_before}
        self._now, self._zone = now, zone
        self._resolved: dict[str, datetime | None] = {"started_after": None, "started_before": None}
        self._wrong: dict[str, str] = {}

    @property
    def texts(self) -> dict[str, str]:
        """Both fields as typed."""
        return dict(self._texts)

    @property
    def window(self) -> Window | None:
        """The instants; None while a field makes no sense."""
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

    def _resolve(self, field: str) -> None:
        text = self._texts[field].strip()
        self._wrong.pop(field, None)
        self._resolved[field] = None
        if text and not (field == "started_before" and text.lower() == _AT_COMMIT):
            try:
                self._resolved[field] = resolve_time(text, self._now(), self._zone)
            except UsageError as error:
                self._wrong[field] = str(error)
        self._check_order()
        for each in self._texts:
            self._say(each)

    def _check_order(self) -> None:
        """Both ends may be fine and together mean nothing."""
        after, before = self._resolved["started_after"], self._resolved["started_before"]
        if self._wrong.get("started_before") == _ORDER:
            del self._wrong["started_before"]
        if after is not None and before is not None and after >= before:
            self._wrong["started_before"] = _ORDER

    def _say(self, field: str) -> None:
        moment = self._resolved[field]
        if field in self._wrong:
            meaning = toned((f"✗ {one_line(self._wrong[field])}", "error"))
        elif moment is not None:
            meaning = toned((f"→ {instant(moment)}", "plain"))
        else:
            meaning = toned(("→ at the commit" if field == "started_before" else "→ no limit", "quiet"))
        self.query_one(f"#{field}-meaning", Static).update(meaning)

    def complain(self, field: str, message: str) -> None:
        """Show what the request's own check found wrong with a field."""
        self.query_one(f"#{field}-meaning", Static).update(toned((f"✗ {one_line(message)}", "error")))
