"""The keys that the configuration gives to actions, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches

from secateur.errors import SettingsError
from secateur_tui.keymap import ACTIONS, Action, is_function_key

_NAMED = ("enter", "escape", "tab", "space", "up", "down", "left", "right", "home", "end", "pageup", "pagedown")
_FIXED = ("ctrl+q", "ctrl+l", "ctrl+c")
"""These do the same whatever has the focus."""


def with_own_keys(keys: Mapping[str, Mapping[str, str | Sequence[str]]]) -> tuple[Action, ...]:
    """The table of actions with these keys instead of its own: place → action → key or keys.

    Raises `SettingsError` for an action or a key that does not exist, and for a key that does something else there.
    """
    known = {action.id: action for action in ACTIONS}
    changed: dict[str, tuple[str, ...]] = {}
    for place, actions in keys.items():
        for method, wanted in actions.items():
            name = f"{place}.{method}"
            if name not in known:
                raise SettingsError(_unknown(name, known))
            changed[name] = _checked(name, (wanted,) if isinstance(wanted, str) else tuple(wanted))
    rebound = tuple(replace(action, keys=changed.get(action.id, action.keys)) for action in ACTIONS)
    for action in rebound:
        if action.id in changed:
            _refuse_collision(action, rebound)
    return rebound


def _unknown(name: str, known: Mapping[str, Action]) -> str:
    close = get_close_matches(name, known, n=1)
    place = name.partition(".")[0]
    here = [each for each in known if each.startswith(f"{place}.")] or sorted({each.place for each in known.values()})
    return f"there is no `keys.{name}`; " + (
        f"did you mean `keys.{close[0]}`?" if close else f"there are {', '.join(here)}"
    )


def _checked(name: str, keys: tuple[str, ...]) -> tuple[str, ...]:
    if not keys:
        raise SettingsError(f"`keys.{name}` needs a key")
    for key in keys:
        if key in _FIXED:
            raise SettingsError(f"`keys.{name}`: {key} cannot be given away: it does the same everywhere")
        last = re.sub(r"^((ctrl|alt|shift)\+)+(?=.)", "", key)
        if not (len(last) == 1 and last.isprintable()) and last not in _NAMED and not is_function_key(last):
            example = "p, P, ctrl+g, f5, enter, escape, space, pageup"
            raise SettingsError(f"`keys.{name}`: {key!r} is no key; keys are written like {example}")
    return keys


def _refuse_collision(action: Action, actions: Sequence[Action]) -> None:
    for other in actions:
        meet = other.place in (action.place, "console", "list") or action.place in ("console", "list")
        if other is not action and meet and (both := set(action.keys) & set(other.keys)):
            raise SettingsError(f"`keys.{action.id}`: {min(both)} is the key of `{other.id}` already")
