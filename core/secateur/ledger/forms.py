"""The forms of what the ledger keeps: cancellations and retries, and the audit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from secateur.forms import Identifier, Instant, JsonForm
from secateur.ledger.verifying import verify

if TYPE_CHECKING:
    from secateur.records import Cancellation


class Counts(JsonForm):
    expected: int | None
    """How many matches the author saw before the commit; null if nothing was counted."""
    expected_exact: bool | None
    """Whether that was an exact count, not an estimate; null if nothing was counted."""
    matched: int
    cancelled: int
    """Every run that it ever cancelled, including those counted below that came back, moved or were deleted."""
    requested: int
    """Running runs that were asked to stop."""
    finished_first: int
    """The part of `requested` that ended before it could be stopped."""
    errors: int
    """Runs on which the sweep could not evaluate `if`; none of them was cancelled."""
    undecided: int
    """Runs on which `if` takes too long: none is claimed or cancelled until it is known whether it matches."""
    restored: int
    """The part of `cancelled` that an undo put back into the queue."""
    handed_over: int
    """The part of `cancelled` that an undo handed over to another cancellation that matches them too."""
    not_restored: int
    """The part of `cancelled` that an undo left cancelled; 0 until the undo has finished."""
    pruned: int
    """The part of `cancelled` that was deleted after its retention."""
    retried: int
    """For a retry: runs that it queued again. For a cancellation: the part of `cancelled` that retries queued again."""
    left_alone: int
    """For a retry: matching runs that it left alone: their key is taken, or an active cancellation matches them."""


class SweepForm(JsonForm):
    """How its sweep or its restore is going."""

    unswept_for: float | None
    """Seconds since a batch last succeeded; null if there is nothing left to do."""
    failures: int
    """Batches that failed since then."""
    failing_since: Instant | None
    last_error: str | None
    """The error of the last failed batch."""
    last_error_at: Instant | None


class CancellationForm(JsonForm):
    id: Identifier
    state: str
    """`active` (of a retry: `retrying`), `complete`, `stopped` or `undone`."""
    kind: str
    """`bulk`: by expression and window; `run`: a single run; `event`: declared by its function, in `cancel_on`."""
    app_id: str
    function_id: str | None
    if_: str | None = Field(alias="if")
    started_after: Instant | None
    started_before: Instant
    standing: bool
    with_cancelled: bool
    """For a retry: whether it includes cancelled runs."""
    rate: int | None
    """The most runs a second that its sweep and its restore rewrite; null is as fast as possible."""
    run_id: str | None
    """For kind `run`: the run's id."""
    guarantee: str
    """Now. `in_force`: no matching run is claimed any more; `pending`: not yet, an open transaction is in the way (or,
    once it is stopped or undone, that is not in force yet, because such a transaction may still act for it);
    `swept`: in a queue without a gate, what the sweep has not reached may still start, and `counts` says how far it is;
    `ended`: not any more, it was stopped or undone; `none`: it is a retry."""
    blocked_by: list[int]
    """While pending: the ids of the Postgres processes whose open transactions it waits for."""
    blocked_by_prepared: list[str]
    """While pending: the names, in `pg_prepared_xacts`, of the prepared transactions that it waits for."""
    created_at: Instant
    created_by: str
    """The author, as claimed by the client, not verified."""
    created_role: str
    """The database role that was logged in, which is proven; the server's own role for requests through this server."""
    compiled: str
    """`verified`: what is executed is what `if` and the request say; `unverified`: it is not, so somebody committed it
    by other means than secateur; `other_version`: another version of the compiler wrote it, this one cannot tell."""
    reason: str | None
    source: str
    """The source that the client claimed."""
    undone_at: Instant | None
    undone_by: str | None
    undo_until: Instant | None
    """The end of the time in which it can be undone; null while it is active, because the time starts when it ends."""
    only_watched: str | None
    """Why nothing is written to its queue now, so that its sweep and an undo have to wait, such as a version that is
    not known; else null."""
    restoring: bool
    """It is undone, and runs are still coming back."""
    sweep: SweepForm
    odd: list[str]
    """Fields that hold what secateur does not write: past its functions, or by an older program. They are shown as far
    as they can be."""
    counts: Counts


def cancellation_form(cancellation: Cancellation) -> CancellationForm:
    """A cancellation or a retry, as it stands."""
    return CancellationForm.of(
        cancellation,
        compiled=verify(cancellation).compiled,
        sweep=SweepForm.of(cancellation),
        counts=Counts.of(cancellation),
    )


class UnrestoredForm(JsonForm):
    """A run that an undo did not put back."""

    run_id: str
    reason: str


class AuditForm(JsonForm):
    id: int
    at: Instant
    action: str
    app_id: str | None
    function_id: str | None
    cancellation_id: Identifier | None
    author: str | None
    """The author that the client gave."""
    role: str
    """The database role that was logged in."""
    address: str | None
    """The address of Postgres's client: this server's, for requests through it; null for a local connection."""
    application_name: str | None
    source: str | None
    details: dict[str, Any]
    """The request, and counts; the content depends on the action."""
