"""Which keys a review takes: no key that was meant for the filter, and no enter of a held key for a commit."""

from __future__ import annotations

import math
import time

from textual import events

from secateur_tui.keymap import actions_of, keys_of

FRESH_SECONDS = 0.5
"""An enter this soon after another may be the repeat of a held key."""

_LEAVING = frozenset(key for action in actions_of("review") if action.id == "review.leave" for key in keys_of(action))


class Presses:
    """Judges each key by the time at which it was pressed, by the monotonic clock, however late it is handled."""

    def __init__(self) -> None:
        self._opened_at = math.inf
        self._entered_at = -math.inf
        """When enter was pressed last, if no other key has been since."""
        self.is_repeat = False
        """The last enter came soon after another one."""

    def begin(self) -> None:
        """The review has been painted."""
        self._opened_at = time.monotonic()

    def is_of_before(self, event: events.Key) -> bool:
        """Whether it was pressed before anybody saw the review; the keys that leave always count."""
        return event.time < self._opened_at and event.key not in _LEAVING

    def is_fresh(self, event: events.Key) -> bool:
        """Note the key; False for an enter that came at once after another. Asked once for each key."""
        is_fresh = event.time - self._entered_at >= FRESH_SECONDS
        self._entered_at = event.time if event.key == "enter" else -math.inf
        if event.key == "enter":
            self.is_repeat = not is_fresh
        return is_fresh or event.key != "enter"
