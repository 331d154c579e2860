"""Filters that were used or saved before: keep this one, or take one of those."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from secateur.errors import SecateurError
from secateur.runs import Functions, Scope
from secateur_tui.drafts import Draft
from secateur_tui.expressions import Kept
from secateur_tui.filter.naming import NameScreen
from secateur_tui.frame import offers
from secateur_tui.frame.palette import PaletteScreen
from secateur_tui.frame.place import PlaceScreen
from secateur_tui.keymap import display_of

_EARLIER_KEY = display_of("filter.earlier")


async def keep(place: PlaceScreen, filter_: Kept) -> bool:
    """Keep a filter; a failure is told, and ends nothing."""
    try:
        await place.session.expressions.keep(filter_)
    except SecateurError as error:
        place.app.notify(str(error), severity="warning", markup=False)
        return False
    return True


async def save(place: PlaceScreen, draft: Draft, *, is_valid: bool) -> None:
    """Keep a filter under a name that the user types, or say why not. To be called in a worker of the place."""
    if not is_valid:
        place.notify("Only a valid filter can be saved.", severity="warning", markup=False)
        return
    if len(draft.scope.each) > 1:
        told = "A filter of several functions is not saved: choose one of them, or the app."
        place.notify(told, severity="warning", markup=False)
        return
    filter_ = draft.kept()
    taken = {each.name for each in place.session.expressions.kept if each.name}
    name = await place.app.push_screen_wait(NameScreen(place.session, filter_.if_, taken))
    if name is not None and await keep(place, replace(filter_, name=name)):
        place.notify(f"Saved as {name}; {_EARLIER_KEY} finds it.", markup=False)


async def choose(place: PlaceScreen, scope: Scope | Functions) -> Kept | None:
    """Let the user choose one, those of the scope first; None without one. To be called in a worker of the place."""
    expressions, chosen = place.session.expressions, list[Kept]()
    with suppress(SecateurError):
        await expressions.load()
    entries = [*offers.expressions(expressions.kept, scope.each, chosen.append)]
    if not entries:
        place.notify("Nothing was saved or used before.", markup=False)
        return None
    entry = await place.app.push_screen_wait(
        PaletteScreen(place.session, entries, "Saved and earlier", "a name or an expression")
    )
    if entry is not None:
        entry.choose()
    return chosen[0] if chosen else None
