"""The form of a message, as the generic webhook and a command get it, and its text."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from secateur.forms import Identifier, Instant, JsonForm


class MessageKind(StrEnum):
    FIRING = "firing"
    GUARD = "guard"
    """Its guard has done later what it could not do at first."""
    RESOLVED = "resolved"


class RuleForm(JsonForm):
    name: str
    metric: str
    threshold: float
    """Runs; seconds; a share from 0 to 1; or runs per second: by the metric."""
    for_seconds: float
    if_: str | None = Field(alias="if")
    """Of `match_rate`, as configured; null if it is withheld."""


class FiguresForm(JsonForm):
    value: float | None
    """In the unit of the threshold; null if it is not known."""
    queued: int
    scheduled: int
    running: int
    failed: int | None
    arriving_per_second: float | None
    leaving_per_second: float | None
    oldest_claimable_seconds: float
    growing_since: Instant | None
    paused: bool


class FilterForm(JsonForm):
    if_: str | None = Field(alias="if")
    """The expression; null if it is withheld."""
    flood_share: float | None
    """The part of what arrives that it matches, from 0 to 1; null where that was not looked at."""
    before_share: float | None
    """The part of what was usual."""
    matched_estimate: int | None
    """About how many unfinished runs match."""
    withheld: bool
    """It has values of fields that `allowed_fields` does not name."""


class CommandForm(JsonForm):
    what: str
    """What it does, in a few words."""
    command: str
    """A command line for a shell."""


class GuardDoneForm(JsonForm):
    action: str
    """`paused`, `cancelled`, `proposed` or `nothing`."""
    until: Instant | None
    why: str | None
    """Why nothing."""
    id: str | None
    """Of the cancellation or the proposal."""


class MessageForm(JsonForm):
    version: int = 1
    id: Identifier
    """The same whenever this message is posted again."""
    kind: MessageKind
    at: Instant
    summary: str
    """One sentence."""
    details: list[str]
    """Further sentences."""
    rule: RuleForm
    episode: Identifier
    began_at: Instant
    fired_at: Instant
    database: str
    app: str
    function: str | None
    """Null: the app as a whole."""
    figures: FiguresForm | None
    """Null for a function that is not there any more."""
    filter: FilterForm | None
    cancel: str | None
    """The command line that cancels what the filter matches; it counts, and asks first."""
    commands: list[CommandForm]
    """What else to run."""
    guard: GuardDoneForm | None
    link: str | None
