"""The forms of what looking at a queue finds: depth, runs, counts, warnings and suggestions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from secateur.cel import Diagnostic
from secateur.forms import Identifier, Instant, JsonForm
from secateur.looking.counter import Preview
from secateur.looking.depth import grows_since, outlook
from secateur.looking.history import Series
from secateur.looking.suggestions import Suggestions
from secateur.looking.telling import timeline
from secateur.runs import FunctionDepth, Paused, Run

Share = Annotated[float, AfterValidator(lambda share: round(share, 4))]


class DepthForm(JsonForm):
    app_id: str
    function_id: str
    queued: int
    scheduled: int
    running: int
    lost: int
    """The part of `running` whose leases have expired: no live worker has them."""
    failed: int | None
    """Runs that failed for good and are not yet deleted; null if the queue cannot count them cheaply."""
    cancelling: int
    """Estimate."""
    oldest_started_at: Instant | None
    """When the run entered the queue that has been claimable for longest; null if no run is claimable."""
    oldest_claimable_at: Instant | None
    """Since when that run can be claimed: its start, or its scheduled time if it has one."""
    in_per_second: float | None
    """Null, as `out_per_second`, if the queue tells only its growth."""
    out_per_second: float | None
    growth_per_second: float | None
    """By how much `queued` and `scheduled` grew per second, over the last ten seconds; negative if they shrank."""
    trend: str
    """`empty`, `paused`, `growing`, `draining`, `steady`, or `stalled`: nothing comes or goes. `empty`
    is also what has only runs that are scheduled for later."""
    drains_in_seconds: float | None
    """Until the backlog is empty, if it drains on like that; 0 if it is empty; else null."""
    growing_since: Instant | None
    """When the queue was last at its usual depth, if it has been growing since; null if it is not growing."""
    paused: bool
    checked_at: Instant | None
    """When the sums behind the depth were last compared with the rows."""
    drift: int
    """By how many runs they were off then, before they were corrected."""
    as_of: Instant


def depth_form(depth: FunctionDepth) -> DepthForm:
    found = outlook(depth)
    seconds = found.drains_in_seconds
    return DepthForm.of(
        depth,
        trend=str(found.trend),
        drains_in_seconds=None if seconds is None else round(seconds, 1),
        growing_since=grows_since(depth),
    )


class PausedForm(DepthForm):
    """The depth of a function after its pause, or that of its app."""

    in_force: bool
    """False: open transactions may still start what they have claimed. Claims that begin from now on obey the pause."""
    blocked_by: list[int]
    """If not in force: the ids of the Postgres processes whose open transactions it waits for."""
    blocked_by_prepared: list[str]
    """If not in force: the names, in `pg_prepared_xacts`, of the prepared transactions that it waits for."""


def paused_form(depth: FunctionDepth, paused: Paused) -> PausedForm:
    return PausedForm.of(paused, **dict(depth_form(depth)))


class PointForm(JsonForm):
    """The depth at the end of a step; null where it is not known: in a gap, for example."""

    at: Instant
    queued: int | None
    scheduled: int | None
    running: int | None
    failed: int | None
    """Runs that had failed for good and were kept."""
    cancelling: int | None
    """Estimate."""
    in_per_second: float | None
    out_per_second: float | None


class GapForm(JsonForm):
    since: Instant
    until: Instant


class MarkForm(JsonForm):
    at: Instant
    action: str
    """As in the audit, such as `commit`, `undo` or `pause`."""
    function_id: str | None
    """Null for the whole app."""
    cancellation_id: Identifier | None
    author: str | None


class SeriesForm(JsonForm):
    """The depth of one function, or of a whole app, as it was."""

    app_id: str
    function_id: str | None
    """Null is the app as a whole."""
    since: Instant
    until: Instant
    step_seconds: float
    growing_since: Instant | None
    """When the queue was last at its usual depth, if it has been growing since; null if it is not growing."""
    points: list[PointForm]
    """One for the end of every step, oldest first."""
    gaps: list[GapForm]
    """When no worker, server or console was running, so that nothing is known."""
    marks: list[MarkForm]
    """What people did to the scope meanwhile, oldest first; the last 200."""


def series_form(series: Series) -> SeriesForm:
    return SeriesForm.of(
        series,
        app_id=series.scope.app_id,
        function_id=series.scope.function_id,
        growing_since=series.grows_since,
        since=series.steps.since,
        until=series.steps.until,
        step_seconds=series.steps.length.total_seconds(),
        points=[PointForm.of(each) for each in series.points],
        gaps=[GapForm.of(each) for each in series.gaps],
        marks=[MarkForm.of(each) for each in series.marks],
    )


class AttemptForm(JsonForm):
    number: int
    """From 1; an interrupted attempt and the one after it have the same number."""
    outcome: str
    """`running`, `completed`, `failed`, `lost` (its lease ended), `interrupted` (its worker had to stop) or `stopped`
    (by a cancellation)."""
    began_at: Instant | None
    ended_at: Instant | None
    worker: str | None
    lease_expires_at: Instant | None
    """Of one that is running."""
    error: str | None


class MomentForm(JsonForm):
    """Something that happened to the run, or that is going to."""

    at: Instant
    what: str
    details: str


class RunForm(JsonForm):
    id: Identifier
    app_id: str
    function_id: str
    status: str
    """`queued`, `scheduled`, `running`, `completed`, `failed` or `cancelled`."""
    priority: int
    attempt: int
    """Claims so far; 0 for a run that never started."""
    started_at: Instant
    """When it entered the queue."""
    scheduled_for: Instant | None
    worker: str | None
    claimed_at: Instant | None
    """When the last attempt began."""
    lease_expires_at: Instant | None
    lost: bool
    """It is `running`, and its lease has expired: no live worker has it."""
    step: str | None
    """The step that was granted last, and when."""
    step_at: Instant | None
    finished_at: Instant | None
    error: str | None
    """What the last attempt failed with; null once the next one has begun."""
    cancellation_id: Identifier | None
    idempotency_key: str | None
    attempts: list[AttemptForm]
    """Oldest first; the last one may be running. Of the attempts after which the run went on, the last twenty."""
    timeline: list[MomentForm]
    """In the order of time; what is to come last."""
    event: Any

    def as_json(self) -> dict[str, Any]:
        # The event goes past pydantic, which does not write what is nested deeply.
        return {**self.model_dump(exclude={"event"}), "event": self.event}


def run_json(run: Run) -> dict[str, Any]:
    """A run as the command line, the API and a page of a search write it."""
    form = RunForm.of(
        run,
        attempts=[AttemptForm.of(each) for each in run.attempts],
        timeline=[MomentForm.of(each) for each in timeline(run)],
    )
    return form.as_json()


class WarningForm(JsonForm):
    """What is doubtful about `if`; `line` and `column` count from 1."""

    message: str
    line: int
    column: int
    suggestion: str | None


class ErrorExampleForm(JsonForm):
    run_id: str
    message: str


class PreviewForm(JsonForm):
    matched: int
    low: int | None
    high: int | None
    """Of an estimate: the truth lies between `low` and `high` with a probability of 95 %."""
    total: int
    """Every unfinished run of the scope, matching or not."""
    exact: bool
    by_status: dict[str, int]
    errors: int
    """Runs of scope and window on which `if` could not be evaluated; they never match."""
    error_examples: list[ErrorExampleForm]
    as_of: Instant
    """To which moment this is true."""
    source: str
    """`primary`, or the `replica` that the server was told to ask."""
    replica_failed: str | None
    """Why the primary counted though there is a replica."""
    evaluated_here: bool
    """The database lacks helper functions that `if` needs: it gave the rows, and secateur evaluated them."""
    warnings: list[WarningForm]


def preview_form(preview: Preview, warnings: Iterable[Diagnostic]) -> PreviewForm:
    """What a request would cancel now, and what is doubtful about its `if`."""
    return PreviewForm.of(
        preview.count,
        error_examples=[ErrorExampleForm.of(each) for each in preview.error_examples],
        warnings=[WarningForm.of(each) for each in warnings],
    )


class BaselineForm(JsonForm):
    what: str
    """`before`: the same scope before the flood, finished runs too; `other_functions`: those of the app, at the same
    time; `none`: nothing to compare with, so that the suggestions are only the most frequent values."""
    runs: int
    """Sampled."""


class HitForm(JsonForm):
    path: str
    value: Any
    runs: int
    """Of the sample."""


class SuggestionForm(JsonForm):
    """A filter. Shares, precision and recall are from 0 to 1, of the samples; null where there is no baseline."""

    if_: str = Field(alias="if")
    flood_share: Share
    """The part of what arrived that matches."""
    baseline_share: Share | None
    precision: Share | None
    """Of the arrivals that match, the part that is more than usual."""
    recall: Share | None
    """Of the arrivals that are more than usual, the part that matches."""
    matched_estimate: int
    """About how many unfinished runs of the scope match, whenever they arrived."""
    also_hits: list[HitForm]
    """Of the field that is most of one value among the matches: other values that are hit, two at most."""


class HotValueForm(JsonForm):
    kind: str
    """`value`, `values`, `missing`, `null`, `type`, `range` (from, below), `size` (of a list), `prefix` or `suffix`."""
    value: Any
    flood_share: Share
    baseline_share: Share | None
    if_: str = Field(alias="if")
    """The condition that it is so."""
    unless: str
    """The condition that it is not so, true also of runs that lack the field."""


class HotFieldForm(JsonForm):
    path: str
    values: list[HotValueForm]


class SuggestionsForm(JsonForm):
    since: Instant | None
    """When the flood began; null where arrivals have not grown, and everything that is kept was looked at."""
    until: Instant | None
    since_found: bool
    """`since` was found in the times of the arrivals, and not given."""
    baseline: BaselineForm
    sampled: int
    """Runs of the flood that were looked at."""
    suggestions: list[SuggestionForm]
    fields: list[HotFieldForm]
    """The most skewed first; what changes with the clock last."""


def suggestions_form(found: Suggestions) -> SuggestionsForm:
    """What stands out, and the filters for it."""
    return SuggestionsForm.of(
        found,
        baseline=BaselineForm(what=str(found.baseline), runs=found.baseline_runs),
        suggestions=[
            SuggestionForm.of(each, also_hits=[HitForm.of(hit) for hit in each.also_hits]) for each in found.suggestions
        ],
        fields=[
            HotFieldForm.of(field, values=[HotValueForm.of(one) for one in field.values]) for field in found.fields
        ],
    )
