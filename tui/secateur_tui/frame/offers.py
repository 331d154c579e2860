"""What the palette offers: the actions of the current place, the functions, the other contexts, the themes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from textual.app import App
from textual.screen import Screen

from secateur.errors import RequestError
from secateur.ledger.proposals import Proposals, ProposedCancellation
from secateur.runs import FunctionDepth, Scope
from secateur_tui.expressions import Kept
from secateur_tui.frame.palette import Entry
from secateur_tui.frame.place import PlaceScreen
from secateur_tui.keymap import actions_of, display

if TYPE_CHECKING:
    from secateur.requests import CancellationRequest


def commands(app: App[None], screen: Screen[object], *, read_only: bool) -> Iterator[Entry]:
    """The actions that would do something now."""
    active = {binding.binding.id for binding in screen.active_bindings.values() if binding.enabled}
    place = screen.place if isinstance(screen, PlaceScreen) else ""
    for action in [*actions_of(place, read_only=read_only), *actions_of("console")]:
        if action.id in active and action.id != "console.palette":
            name = screen.describe(action) if isinstance(screen, PlaceScreen) else action.description
            target = app if action.place == "console" else screen
            yield Entry(
                "command", name, action.help, getattr(target, f"action_{action.method}"), display(action.keys[0])
            )


def functions(depths: Sequence[FunctionDepth], open_filter: Callable[[Scope], None]) -> Iterator[Entry]:
    """A filter of each function, the deepest queue first."""
    for depth in sorted(depths, key=lambda depth: -depth.queued):
        scope = depth.scope
        name = f"{depth.app_id} / {depth.function_id}"
        yield Entry("function", name, f"{depth.queued:,} queued", partial(open_filter, scope))


def proposals(
    found: Sequence[ProposedCancellation],
    review: Callable[[CancellationRequest, None, ProposedCancellation], None],
) -> Iterator[Entry]:
    """A review of each proposal that waits for a decision."""
    for each in found:
        with suppress(RequestError):  # of another program
            request = Proposals.request_of(each)
            name = f"{', '.join(map(str, request.scopes))}: {request.if_ or 'every run'}"
            yield Entry("proposal", name, f"by {each.proposed_by}", partial(review, request, None, each))


def contexts(known: Mapping[str, str], current: str | None, switch_to: Callable[[str], object]) -> Iterator[Entry]:
    """The other databases of the configuration."""
    for name, what in known.items():
        if name != current:
            yield Entry("context", name, what, partial(switch_to, name))


def expressions(
    kept: Iterable[Kept], scopes: Sequence[Scope], open_filter: Callable[[Kept], object]
) -> Iterator[Entry]:
    """Saved filters and filters used before: those of these scopes first, newest first."""
    for each in sorted(kept, key=lambda each: (not each.name, each.scope not in scopes)):
        name = f"{each.name}: {each.if_}" if each.name else each.if_
        where = str(each.scope)
        yield Entry("saved" if each.name else "earlier", name, where, partial(open_filter, each))


def themes(names: Sequence[str], current: str, choose: Callable[[str], None]) -> Iterator[Entry]:
    """The other themes that the terminal can show."""
    for name in names:
        if name != current:
            yield Entry("theme", name, "show the console in these colours", partial(choose, name))
