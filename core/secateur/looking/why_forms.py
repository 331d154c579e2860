"""The form of why a run is where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from secateur.cel.authoring.explain import Part
from secateur.forms import Identifier, Instant, JsonForm
from secateur.looking.telling import others, sentence, touch_in_words

if TYPE_CHECKING:
    from secateur.looking.why import Touch, Why


class StepForm(JsonForm):
    name: str
    finished_at: Instant
    size: int
    """Bytes that the result takes in the database."""
    result: Any
    """Null for one that is too large to be shown."""


class DecisionForm(JsonForm):
    """A part of an expression that decided, and the values of what it is made of."""

    text: str
    value: str
    """As the language writes it, or the error."""
    parts: list[DecisionForm]


class TouchForm(JsonForm):
    """A cancellation or a retry that has to do with the run."""

    cancellation_id: Identifier
    kind: str
    state: str
    created_by: str
    created_at: Instant
    reason: str | None
    if_: str | None
    effect: str
    """`cancelled`, `matches`, `asked_to_stop`, `finished_first`, `withdrawn`, `undecided`, `does_not_match`,
    `cannot_be_evaluated`, `outside_window`, `handed_over`, `retried` or `unknown`."""
    decided_by: list[DecisionForm]
    sentence: str


class PauseForm(JsonForm):
    function_id: str | None
    """Null is the whole app."""
    since: Instant
    by: str | None


class WhyForm(JsonForm):
    """Why a run is where it is."""

    run_id: Identifier
    status: str
    reason: str
    """`completed`, `failed`, `cancelled`, `running`, `stopping`, `lost` or, of a run that waits: `matched`,
    `undecided`, `backing_off`, `scheduled`, `paused`, `limited`, `no_worker` or `queued`."""
    sentence: str
    """The same for people."""
    also: list[str]
    """What else holds it up."""
    cancellations: list[TouchForm]
    """Newest first: those that have it or had it, and every active one of its function."""
    pauses: list[PauseForm]
    concurrency: int | None
    """How many runs of the function may run at once; null is no limit."""
    slots_taken: int
    ahead: int
    """Queued runs that are claimed before it; counted up to 10,000."""
    max_attempts: int
    interruptions: int
    workers: int
    """Workers that hold a run of the app."""
    steps: list[StepForm]
    """Finished ones."""
    as_of: Instant


def why_form(why: Why) -> WhyForm:
    trace = why.trace
    return WhyForm.of(
        trace,
        run_id=why.run.id,
        status=str(why.run.status),
        reason=str(why.reason),
        sentence=sentence(why),
        also=others(why),
        cancellations=[_touch_form(each, why) for each in why.touches],
        pauses=[PauseForm.of(each) for each in trace.pauses],
        steps=[StepForm.of(each) for each in trace.steps],
    )


def _touch_form(touch: Touch, why: Why) -> TouchForm:
    record = touch.cancellation
    return TouchForm.of(
        record,
        cancellation_id=record.id,
        effect=str(touch.effect),
        decided_by=[_decision_form(each) for each in touch.decided_by],
        sentence=touch_in_words(touch, why.trace.as_of) + ".",
    )


def _decision_form(part: Part) -> DecisionForm:
    return DecisionForm(
        text=part.text, value=part.outcome, parts=[_decision_form(each) for each in part.parts if each.used]
    )
