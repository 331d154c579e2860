"""What is typed in Filter, window and condition; and the draft and the request that they make."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, tzinfo

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.timer import Timer

from secateur.errors import RequestError
from secateur.requests import CancellationRequest
from secateur.words.lines import one_line
from secateur_tui.drafts import Draft
from secateur_tui.filter.condition import ConditionField
from secateur_tui.filter.counting import TYPING_PAUSE
from secateur_tui.filter.editor import ExpressionEditor
from secateur_tui.filter.window import WindowFields

SLOW_CHECK = 0.03
"""Seconds of the processor from which on a check waits for a pause in the typing.

By the clock, a quick check would wait as well on a busy machine."""


class RequestFields(Vertical):
    """The fields keep the draft as it is typed; of a valid one they make the request.

    `changed` is called when something else is typed and again when it is checked, which may be later.
    """

    def __init__(
        self,
        draft: Draft,
        condition: ConditionField,
        now: Callable[[], datetime],
        zone: tzinfo,
        changed: Callable[[], None],
    ) -> None:
        super().__init__(id="request")
        self.request: CancellationRequest | None = None
        """The request for the text that was checked last; None where that is not valid."""
        self.window = WindowFields(
            draft.started_after,
            draft.started_before,
            now,
            zone,
            standing=draft.standing,
            may_stand=not draft.retry,
        )
        self.condition = condition
        self._draft, self._changed = draft, changed
        self._check_took = 0.0
        self._check_later: Timer | None = None

    def compose(self) -> ComposeResult:
        yield self.window
        yield self.condition

    def on_mount(self) -> None:
        self._title()
        self.call_after_refresh(self.check)

    def _title(self) -> None:
        """The scope and, of a retry, which of its runs."""
        scope = one_line(str(self._draft.scope))
        which = "failed and cancelled" if self._draft.with_cancelled else "failed"
        self.window.title(f"Retry {which} runs: {scope}" if self._draft.retry else f"Filter: {scope}")

    @property
    def is_checked(self) -> bool:
        """Whether the newest text was checked."""
        return self._check_later is None

    @property
    def must_be_standing(self) -> bool:
        """Whether the window ends in the future, and nobody has said that this is meant."""
        return self.window.is_ahead and not self.window.standing

    @on(ExpressionEditor.Changed)
    @on(WindowFields.Changed)
    def _edited(self) -> None:
        self._keep()
        if self._check_later is not None:
            self._check_later.reset()
        elif self._check_took < SLOW_CHECK:
            self.check()
        else:
            self._check_later = self.set_timer(TYPING_PAUSE, self.check)
            self._changed()

    def catch_up(self) -> None:
        """Check now what waits for a pause: somebody wants to do something with it."""
        if not self.is_checked:
            self.check()

    def check(self) -> None:
        """Check what is typed and, if it means something, make the request."""
        if self._check_later is not None:
            self._check_later.stop()
            self._check_later = None
        began = time.thread_time()
        self._keep()
        self.request = None if self.condition.check() else self._build()
        self._check_took = time.thread_time() - began
        self._changed()

    def _keep(self) -> None:
        """Keep what is typed as the draft."""
        self._draft.if_ = self.condition.editor.text
        self._draft.started_after = self.window.texts["started_after"]
        self._draft.started_before = self.window.texts["started_before"]
        self._draft.standing = self.window.standing

    def _build(self) -> CancellationRequest | None:
        if (window := self.window.window) is None:
            return None
        try:
            return self._draft.request(window)
        except RequestError as error:
            self.complain(error)
            return None

    def complain(self, error: RequestError) -> None:
        """Say beside each field what is wrong with it."""
        for problem in error.problems:
            if problem.field in self.window.texts:
                self.window.complain(problem.field, problem.message)
            else:
                self.notify(f"{problem.field}: {problem.message}", severity="error", markup=False)

    def toggle_with_cancelled(self) -> None:
        """In a retry: include cancelled runs, or not."""
        self._draft.with_cancelled = not self._draft.with_cancelled
        self._title()
        self.check()
