"""Composes messages: what floods, what would cancel it, and what else to do.

A message has names, figures, and expressions of which every field is allowed: nothing else of what is in the queue.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from uuid import UUID, uuid5

from secateur.engines.base import queue_of
from secateur.errors import SecateurError
from secateur.instants import utc
from secateur.ledger.cancellations import Cancellations
from secateur.ledger.ledger import Cancelling
from secateur.looking.depth import waited_seconds
from secateur.looking.reader import Reader
from secateur.looking.timed_counting import count_within, within
from secateur.looking.wording import percent, shares
from secateur.runs import Scope
from secateur.watch.episodes import Episode, EpisodeKey, GuardDone
from secateur.watch.fields import Field, may_be_told
from secateur.watch.figures import RuleReading, request_of
from secateur.watch.forms import CommandForm, FiguresForm, FilterForm, GuardDoneForm, MessageForm, MessageKind, RuleForm
from secateur.watch.keeping import Message
from secateur.watch_settings import Metric, WatchRule
from secateur.words.figures import duration, number, rate, runs
from secateur.words.lines import one_line, shorten
from secateur.words.shell import command_line

SUGGEST_SECONDS = 15.0
"""How long the search for a filter may hold up a message."""

COUNT_SECONDS = 5.0

STANDING = timedelta(hours=2)
"""For how long the second command line also cancels what arrives."""

LONGEST_SHOWN = 300
"""The most characters of an expression in a sentence; the command lines have all of it."""


@dataclass(frozen=True, slots=True)
class FoundFilter:
    """What was found out about a flood."""

    filter: FilterForm | None = None
    cancel: str | None = None
    """The command line that cancels what is there; None where runs cannot be cancelled."""
    cancel_on: str | None = None
    """The same, also for what arrives in the next two hours."""
    sentence: str | None = None
    look: bool = True
    """Whether to look at what arrives is worth a try."""


@dataclass(frozen=True, slots=True)
class Alert:
    """What a message is about."""

    kind: MessageKind
    key: EpisodeKey
    rule: WatchRule
    episode: Episode
    reading: RuleReading
    now: datetime


class Answers:
    """Composes the messages of one watch."""

    def __init__(
        self, reader: Reader, cancellations: Cancellations, allowed: frozenset[Field], link: str | None, database: str
    ) -> None:
        self._reader, self._cancellations = reader, cancellations
        self._allowed, self._link, self._database = allowed, link, database

    async def message(self, alert: Alert) -> Message:
        """A `MessageForm`. What cannot be found out in time is left out, and the message says so."""
        answer = FoundFilter(look=False)
        if alert.kind is MessageKind.FIRING:
            answer = await self._answer(alert)
        form = MessageForm(
            id=str(uuid5(alert.episode.id, str(alert.kind))),
            kind=alert.kind,
            at=utc(alert.now),
            summary=summary(alert),
            details=[*_details(alert, answer, self._database), *_guard_sentence(alert)],
            rule=_rule_form(alert, self._if_of(alert.rule)),
            episode=str(alert.episode.id),
            began_at=utc(alert.episode.over_since),
            fired_at=utc(alert.episode.fired_at or alert.now),
            database=self._database,
            app=alert.key.scope.app_id,
            function=alert.key.scope.function_id,
            figures=_figures(alert.reading),
            filter=answer.filter,
            cancel=answer.cancel,
            commands=[*self._commands(alert, answer)],
            guard=_guard_form(alert.episode.guard),
            link=self._link_of(alert),
        )
        return form.as_json()

    async def _answer(self, alert: Alert) -> FoundFilter:
        scope, rule = alert.key.scope, alert.rule
        if rule.metric is Metric.MATCH_RATE:
            return await self._configured(alert)
        if not self._reader.can_suggest:
            return FoundFilter(
                sentence="This queue keeps nothing that has ended, so no filter can be suggested.", look=False
            )
        try:
            found = await within(SUGGEST_SECONDS, self._reader.suggest(scope))
        except SecateurError:
            return FoundFilter(sentence="No filter was found in time; the command below looks again.")
        if not found.suggestions or (found.since is None and rule.metric is not Metric.GROWTH):
            return FoundFilter(sentence="No field distinguishes what arrives now from what is usual.")
        best = found.suggestions[0]
        told = next((each for each in found.suggestions if may_be_told(each.if_, self._allowed)), None)
        shown = best if told is None else told
        filter = FilterForm(
            **{"if": None if told is None else told.if_},
            flood_share=shown.flood_share,
            before_share=shown.baseline_share,
            matched_estimate=shown.matched_estimate,
            withheld=told is None,
        )
        figures = f"matches {shares(shown, found)}. About {runs(shown.matched_estimate)} that wait or run match."
        if told is None:
            return FoundFilter(
                filter,
                sentence=f"A filter {figures} It is withheld, because `allowed_fields` does not name "
                "all of its fields; the command below shows it.",
            )
        return FoundFilter(
            filter,
            self._cancel(alert, told.if_),
            self._cancel(alert, told.if_, and_on=True),
            f"{shorten(told.if_, LONGEST_SHOWN)} {figures}",
            look=False,
        )

    async def _configured(self, alert: Alert) -> FoundFilter:
        """Of `match_rate`, the rule's own expression."""
        scope, rule = alert.key.scope, alert.rule
        matched = None
        with suppress(SecateurError):
            seen = await count_within(self._reader.counter, request_of(scope, rule.if_), COUNT_SECONDS)
            matched = None if seen.count is None else seen.count.matched
        told = self._if_of(rule)
        filter = FilterForm(
            **{"if": told}, flood_share=None, before_share=None, matched_estimate=matched, withheld=told is None
        )
        about = "" if matched is None else f" About {runs(matched)} that wait or run match."
        if told is None:
            return FoundFilter(
                filter,
                sentence="The rule's own expression is withheld, because `allowed_fields` does not name all of its "
                f"fields; the configuration has it.{about}",
                look=self._reader.can_suggest,
            )
        return FoundFilter(
            filter,
            self._cancel(alert, rule.if_),
            self._cancel(alert, rule.if_, and_on=True),
            f"The rule's own expression: {shorten(rule.if_ or '', LONGEST_SHOWN)}.{about}",
            look=False,
        )

    def _if_of(self, rule: WatchRule) -> str | None:
        """The rule's expression, if it may be told: it was written here, but the values in it are those of payloads."""
        return rule.if_ if rule.if_ is not None and may_be_told(rule.if_, self._allowed) else None

    def _cancel(self, alert: Alert, if_: str | None, *, and_on: bool = False) -> str | None:
        """The command line; None where runs cannot be cancelled."""
        scope = alert.key.scope
        queue = queue_of(self._cancellations.engine, scope.app_id)
        if not isinstance(queue, Cancelling) or queue.only_watched is not None:
            return None
        until = utc((alert.now + STANDING).replace(microsecond=0))
        more = {"standing": True, "started_before": until} if and_on else {}
        return request_of(scope, if_, reason=f"alert {alert.key.rule}", **more).command_line()

    def _commands(self, alert: Alert, answer: FoundFilter) -> Iterator[CommandForm]:
        scope, metric = alert.key.scope, alert.rule.metric
        place = [("--app", scope.app_id), ("--function", scope.function_id)]
        if answer.cancel_on is not None:
            yield CommandForm(what="Cancel also what arrives in the next two hours", command=answer.cancel_on)
        if answer.look:
            yield CommandForm(
                what="See what stands out, with filters for it", command=command_line("suggest", flags=place)
            )
        if (
            alert.kind is MessageKind.FIRING
            and answer.filter is not None
            and answer.cancel is None
            and not answer.filter.withheld
        ):
            to_cancel = queue_of(self._cancellations.engine, scope.app_id).to_cancel
            if to_cancel is not None:
                yield CommandForm(what="Needed once before runs of this queue can be cancelled", command=to_cancel)
        if alert.kind is MessageKind.FIRING and metric is Metric.CLAIMABLE_AGE:
            yield CommandForm(what="See whether it moves at all", command=command_line("depth", flags=place))
        if alert.kind is MessageKind.FIRING and metric is Metric.FAILING_SHARE:
            yield CommandForm(what="See the errors", command=command_line("runs", flags=place))
            if alert.episode.guard is None or alert.episode.guard.action == "nothing":
                yield CommandForm(what="Stop claiming its runs", command=_named("pause", scope))
        yield from _taking_back(alert)

    def _link_of(self, alert: Alert) -> str | None:
        if self._link is None:
            return None
        scope = alert.key.scope
        values: Mapping[str, str | UUID] = {
            "app": scope.app_id,
            "function": scope.function_id or "",
            "rule": alert.key.rule,
            "episode": alert.episode.id,
        }
        return self._link.format(**{name: quote(str(value), safe="") for name, value in values.items()})


def summary(alert: Alert) -> str:
    """One sentence, with the name first: on a locked phone nothing else shows."""
    name, value = _name(alert.key.scope), alert.reading.value or 0.0
    if alert.kind is MessageKind.GUARD:
        return f"{name}: the guard of rule {alert.key.rule} has acted"
    if alert.kind is MessageKind.RESOLVED:
        lasted = (alert.now - (alert.episode.fired_at or alert.now)).total_seconds()
        return f"{name}: over after {duration(lasted)} ({alert.key.rule})"
    match alert.rule.metric:
        case Metric.GROWTH:
            since = min((each.growing_since for each in alert.reading.depths if each.growing_since), default=None)
            growing = "and growing" if since is None else f"growing since {_clock(since, alert.now)}"
            return f"{name} floods: {runs(alert.reading.backlog)} wait, {growing}"
        case Metric.CLAIMABLE_AGE:
            return f"{name}: the oldest run has waited {duration(value)}"
        case Metric.FAILING_SHARE:
            return f"{name}: {percent(value)} of what ended in {_span(alert.rule.within)} failed"
    return f"{name}: {rate(value)} matching runs arrive per second"


def threshold_in_words(rule: WatchRule) -> str:
    """`growth, from 1,000 runs, for 2m`."""
    value = rule.threshold
    match rule.metric:
        case Metric.GROWTH:
            limit = f"{number(int(value)) if value == int(value) else f'{value:g}'} runs"
        case Metric.CLAIMABLE_AGE:
            limit = _span(timedelta(seconds=value))
        case Metric.FAILING_SHARE:
            limit = percent(value)
        case _:
            limit = f"{value:g} runs per second"
    return f"{rule.metric} from {limit}" + (f", for {_span(rule.for_)}" if rule.for_ else "")


def _details(alert: Alert, answer: FoundFilter, database: str) -> Iterator[str]:
    yield f"In {database}. Rule {alert.key.rule}: {threshold_in_words(alert.rule)}."
    if alert.reading.depths:
        yield _depth_in_words(alert.reading)
    if answer.sentence is not None:
        yield answer.sentence


def _depth_in_words(reading: RuleReading) -> str:
    figures = _figures(reading)
    assert figures is not None  # noqa: S101 - there are depths
    parts = [
        f"{number(figures.queued)} queued",
        f"{number(figures.scheduled)} scheduled",
        f"{number(figures.running)} running",
    ]
    if figures.failed is not None:
        parts.append(f"{number(figures.failed)} failed")
    if figures.arriving_per_second is not None and figures.leaving_per_second is not None:
        parts.append(f"{rate(figures.arriving_per_second)}/s arrive, {rate(figures.leaving_per_second)}/s leave")
    return f"{', '.join(parts)}{'; paused' if figures.paused else ''}."


def _guard_sentence(alert: Alert) -> Iterator[str]:
    done = alert.episode.guard
    if done is None:
        return
    until = "" if done.until is None else f" until {_clock(done.until, alert.now)}"
    is_over = done.until is not None and done.until <= alert.now
    match done.action:
        case "paused":
            yield (
                f"The guard had paused the function{until}."
                if is_over
                else (f"The guard has paused the function{until}: its runs wait.")
            )
        case "cancelled":
            cancels = "cancelled" if is_over else "cancels"
            yield f"The guard has cancelled what its own `if` matches, and {cancels} what arrives{until}."
        case "proposed":
            yield "There is a budget, so the guard has only proposed its cancellation: somebody has to approve it."
        case _:
            again = "" if done.is_final or alert.kind is MessageKind.RESOLVED else "; it will be tried again"
            yield f"The guard has done nothing: {one_line(done.why or 'it failed')}{again}."


def _taking_back(alert: Alert) -> Iterator[CommandForm]:
    """What the guard's deed is followed by."""
    done = alert.episode.guard
    if done is None or (alert.kind is MessageKind.RESOLVED and done.until is not None and done.until <= alert.now):
        return
    if done.action == "paused":
        yield CommandForm(what="Claim its runs again now", command=_named("resume", alert.key.scope))
    elif done.action == "cancelled" and done.id is not None:
        yield CommandForm(what="Let new runs through again", command=command_line("stop", done.id))
        yield CommandForm(what="Bring back what the guard cancelled", command=command_line("undo", done.id))
    elif done.action == "proposed" and done.id is not None:
        yield CommandForm(what="Look at the guard's proposal, and approve it", command=command_line("approve", done.id))


def _named(verb: str, scope: Scope) -> str:
    return command_line(verb, *(name for name in (scope.app_id, scope.function_id) if name is not None))


def _rule_form(alert: Alert, if_: str | None) -> RuleForm:
    rule = alert.rule
    return RuleForm(
        name=alert.key.rule,
        metric=str(rule.metric),
        threshold=rule.threshold,
        for_seconds=rule.for_.total_seconds(),
        **{"if": if_},
    )


def _guard_form(done: GuardDone | None) -> GuardDoneForm | None:
    if done is None:
        return None
    return GuardDoneForm(action=done.action, until=_text(done.until), why=done.why, id=done.id)


def _figures(reading: RuleReading) -> FiguresForm | None:
    depths = reading.depths
    if not depths:
        return None
    failed = [each.failed for each in depths]
    return FiguresForm(
        value=reading.value,
        queued=sum(each.queued for each in depths),
        scheduled=sum(each.scheduled for each in depths),
        running=sum(each.running for each in depths),
        failed=sum(one for one in failed if one is not None) if any(one is not None for one in failed) else None,
        arriving_per_second=_sum([each.in_per_second for each in depths]),
        leaving_per_second=_sum([each.out_per_second for each in depths]),
        oldest_claimable_seconds=max(waited_seconds(each) for each in depths),
        growing_since=_text(min((each.growing_since for each in depths if each.growing_since), default=None)),
        paused=all(each.paused for each in depths),
    )


def _sum(rates: Sequence[float | None]) -> float | None:
    known = [each for each in rates if each is not None]
    return sum(known) if known else None


def _name(scope: Scope) -> str:
    return one_line(scope.app_id if scope.function_id is None else str(scope))


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else utc(moment)


def _clock(moment: datetime, now: datetime) -> str:
    """In UTC; with the day if that is another."""
    moment, now = moment.astimezone(UTC), now.astimezone(UTC)
    return f"{moment:%H:%M} UTC" if moment.date() == now.date() else f"{moment:%m-%d %H:%M} UTC"


def _span(length: timedelta) -> str:
    """As the configuration writes it."""
    seconds = int(length.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def text_of(message: Message) -> list[str]:
    """A message as people read it on a terminal."""
    lines = [f"{message['kind']}: {message['summary']}", *(f"  {each}" for each in message["details"])]
    if message["cancel"] is not None:
        lines.append(f"  Cancel exactly these runs (it counts, then asks):  {message['cancel']}")
    lines += [f"  {each['what']}:  {each['command']}" for each in message["commands"]]
    if message["link"] is not None:
        lines.append(f"  {message['link']}")
    return lines
