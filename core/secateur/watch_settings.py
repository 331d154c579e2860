"""The part of the configuration that `secateur watch` and `secateur serve` read: rules, where to post, what to tell.

Everything that can be told without a database is checked here; an `if` is compiled by the watch itself.
"""

from __future__ import annotations

import math
import re
import string
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from secateur.bounds import problem_of_named
from secateur.times import UNITS

LONGEST_FOR = timedelta(days=1)
LONGEST_GUARD = timedelta(days=7)
LINK_FIELDS = ("app", "function", "rule", "episode")
"""What a link may contain in braces."""

_NAME = re.compile("[a-z0-9][a-z0-9_-]{0,59}")


class Metric(StrEnum):
    """What a rule looks at. Its threshold is in the unit said here."""

    GROWTH = "growth"
    """Runs that wait in a function that is growing."""
    CLAIMABLE_AGE = "claimable_age"
    """How long the oldest run has waited that could be claimed."""
    FAILING_SHARE = "failing_share"
    """Which part of the runs that ended lately failed for good: from 0 to 1."""
    MATCH_RATE = "match_rate"
    """Runs per second that arrive and match the rule's `if`."""


class TargetKind(StrEnum):
    JSON = "json"
    """A POST of the message as JSON."""
    SLACK = "slack"
    """A POST in the format of Slack's incoming webhooks."""
    COMMAND = "command"
    """A program, started without a shell, that gets the message as JSON on standard input."""


class GuardAction(StrEnum):
    PAUSE = "pause"
    CANCEL = "cancel"


def _wrong(problem: str) -> PydanticCustomError:
    return PydanticCustomError("watch", "{problem}", {"problem": problem})


def read_span(value: object) -> timedelta:
    """`90s`, `15m`, `2h`, `1d`. Raises pydantic's error."""
    found = re.fullmatch(r"(?a)(\d{1,6})([smhd])", value) if isinstance(value, str) else None
    if found is None:
        raise _wrong('must be a span such as "90s", "15m" or "2h"')
    return int(found[1]) * UNITS[found[2]]


def _between(shortest: timedelta, longest: timedelta, words: str) -> AfterValidator:
    def check(value: timedelta) -> timedelta:
        if not shortest <= value <= longest:
            raise _wrong(f"must be from {words}")
        return value

    return AfterValidator(check)


Hold = Annotated[timedelta, BeforeValidator(read_span), _between(timedelta(0), LONGEST_FOR, '"0s" to "1d"')]
GuardSpan = Annotated[
    timedelta, BeforeValidator(read_span), _between(timedelta(seconds=1), LONGEST_GUARD, '"1s" to "7d"')
]
FailingSpan = Annotated[
    timedelta, BeforeValidator(read_span), _between(timedelta(minutes=1), timedelta(hours=24), '"1m" to "24h"')
]


def _named(value: object) -> object:
    if (problem := problem_of_named(value)) is not None:
        raise _wrong(problem)
    return value


Named = Annotated[str, BeforeValidator(_named)]


def _short(value: object) -> object:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise _wrong("must be a name of lower-case letters, digits, - and _")
    return value


ShortName = Annotated[str, BeforeValidator(_short)]
"""Of a rule or a target."""


class Guard(BaseModel):
    """What the watch itself may do, once for each episode of the rule, and for how long."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, defer_build=True)

    action: GuardAction
    lasts: GuardSpan
    """How long the function stays paused, or the standing cancellation stands."""
    if_: str | None = Field(default=None, alias="if", min_length=1, max_length=20_000)
    """Which runs to cancel."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.action is GuardAction.CANCEL and self.if_ is None:
            raise _wrong("needs `if`: a guard cancels only what its own expression matches")
        if self.action is GuardAction.PAUSE and self.if_ is not None:
            raise _wrong("must not have an `if`: a pause is of the whole function")
        return self


class WatchRule(BaseModel):
    """When to tell somebody, and when it is over."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, defer_build=True)

    metric: Metric
    app: Named | None = None
    """None: every app."""
    function: Named | None = None
    """None: every function, each by itself."""
    if_: str | None = Field(default=None, alias="if", min_length=1, max_length=20_000)
    """Of `match_rate`."""
    threshold: Any
    """As a number; of `claimable_age` a span, kept as seconds."""
    clears_below: Any = None
    """In the same unit; half the threshold by default."""
    for_: Hold = Field(default=timedelta(0), alias="for")
    """How long the figure must be at the threshold before the rule fires."""
    clears_after: Hold = timedelta(minutes=5)
    """How long it must be below `clears_below` before that is over."""
    within: FailingSpan = timedelta(minutes=15)
    """Of `failing_share`: the time that is looked at."""
    at_least: int = Field(default=20, ge=1, le=1_000_000)
    """Of `failing_share`: the fewest runs that must have ended."""
    targets: list[ShortName] | None = None
    """Where to post; None: everywhere."""
    guard: Guard | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.function is not None and self.app is None:
            raise _wrong("needs `app`: a function is named together with its app")
        if (self.metric is Metric.MATCH_RATE) != (self.if_ is not None):
            raise _wrong(
                "needs `if`: match_rate counts the runs that it matches"
                if self.if_ is None
                else f"must not have an `if`: {self.metric} is not about an expression (match_rate is)"
            )
        if self.metric is Metric.MATCH_RATE and self.app is None:
            raise _wrong("needs `app`: the `if` of match_rate is asked of one app")
        for name in ("within", "at_least"):
            if self.metric is not Metric.FAILING_SHARE and name in self.model_fields_set:
                raise _wrong(f"must not have `{name}`: it is of failing_share")
        threshold = self._figure("threshold", self.threshold)
        clears = threshold / 2 if self.clears_below is None else self._figure("clears_below", self.clears_below)
        if clears > threshold:
            raise _wrong(
                "needs a `clears_below` that is not above its `threshold`, or it would fire and clear by turns"
            )
        object.__setattr__(self, "threshold", threshold)
        object.__setattr__(self, "clears_below", clears)
        self._check_guard()
        return self

    def _figure(self, name: str, value: object) -> float:
        if self.metric is Metric.CLAIMABLE_AGE:
            try:
                seconds = read_span(value).total_seconds()
            except PydanticCustomError:
                seconds = 0.0
            if seconds <= 0:
                raise _wrong(f'needs a `{name}` that is a span such as "15m", since it is a time')
            return seconds
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise _wrong(f"needs a `{name}` that is a number above 0")
        if self.metric is Metric.FAILING_SHARE and value > 1:
            raise _wrong(f"needs a `{name}` from 0 to 1: a fifth is 0.2")
        return float(value)

    def _check_guard(self) -> None:
        if self.guard is None:
            return
        if self.app is None:
            raise _wrong("needs `app`, because it has a guard: what a guard may touch is named")
        if self.guard.action is GuardAction.PAUSE:
            if self.metric is Metric.CLAIMABLE_AGE:
                raise _wrong("must not pause: while a function is paused, its runs only grow older")
            if self.metric is Metric.MATCH_RATE and self.function is None:
                raise _wrong("needs `function`, because its guard pauses one")


class WatchTarget(BaseModel):
    """Where messages go. Its URL is a secret, which no message, log or error tells."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    kind: TargetKind
    url: str | None = Field(default=None, repr=False)
    url_from: str | None = Field(default=None, pattern="^[A-Za-z_][A-Za-z0-9_]*$")
    """The environment variable that has the URL."""
    command: list[str] | None = Field(default=None, repr=False, min_length=1, max_length=100)
    """A program and its arguments."""
    timeout_seconds: float = Field(default=10.0, ge=0.1, le=60)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        given = [name for name in ("url", "url_from", "command") if getattr(self, name) is not None]
        if self.kind is TargetKind.COMMAND:
            if given != ["command"]:
                raise _wrong('needs `command`, as in ["/usr/local/bin/page", "--urgent"], and no URL')
            return self
        if given not in (["url"], ["url_from"]):
            raise _wrong("needs either `url`, or `url_from` with the name of the environment variable that has it")
        if self.url is not None and not is_web_address(self.url):
            raise _wrong("needs a `url` that begins with https:// (or http://) and names a host")
        return self


def is_web_address(url: str) -> bool:
    """Whether something can be posted there."""
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0 and url.isprintable()
        )
    except ValueError:
        return False


def _link(value: str) -> str:
    try:
        parts = [part[1:] for part in string.Formatter().parse(value) if part[1] is not None]
        plain = all(name in LINK_FIELDS and not form and not conversion for name, form, conversion in parts)
    except ValueError:
        plain = False
    if not plain or not is_web_address(re.sub(r"\{\w+\}", "x", value)):
        known = ", ".join(f"{{{name}}}" for name in LINK_FIELDS)
        raise _wrong(f"must be a URL, in which {known} may stand")
    return value


class WatchSettings(BaseModel):
    """The table `[watch]`."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    every_seconds: float = Field(default=10.0, ge=0.1, le=3600)
    """How often the rules are evaluated."""
    allowed_fields: list[str] = []
    """The fields of events, such as `event.data.vendor_id`, whose values a message may contain."""
    link: Annotated[str, AfterValidator(_link)] | None = None
    """A URL for the messages."""
    targets: dict[ShortName, WatchTarget] = {}
    rules: dict[ShortName, WatchRule] = {}

    @model_validator(mode="after")
    def _targets_exist(self) -> Self:
        known = ", ".join(sorted(self.targets)) or "none"
        for name, rule in self.rules.items():
            for target in rule.targets or ():
                if target not in self.targets:
                    raise _wrong(f"has no target {target!r}, which the rule {name!r} names; its targets: {known}")
        return self
