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
    """How many matches the author was shown before the commit; null where nothing was counted."""
    expected_exact: bool | None
    """Whether that was the exact count, not an estimate; null where nothing was counted."""
    matched: int
    cancelled: int
    """Every run that was its own at some time, also those counted below that are so no longer."""
    requested: int
    """Running runs that were asked to stop."""
    finished_first: int
    """Of those, the ones that ended before they could be stopped."""
    errors: int
    """Runs on which the sweep could not evaluate `if`; none of them was cancelled."""
    undecided: int
    """Runs on which `if` takes too long: none is claimed or cancelled until it is known whether it matches."""
    restored: int
    """Of `cancelled`, those that an undo put back into the queue."""
    handed_over: int
    """Of `cancelled`, those that another cancellation has since an undo, because it matches them too."""
    not_restored: int
    """Of `cancelled`, those that an undo left cancelled; known once it is through, 0 until then."""
    pruned: int
    """Of `cancelled`, those that were deleted when their time was over."""
    retried: int
    """Of a retry: runs that it queued again. Of a cancellation: those of `cancelled` that retries have queued again."""
    left_alone: int
    """Of a retry: runs that match, and that it left: their key is taken, or an active cancellation matches them too."""


class SweepForm(JsonForm):
    """How its sweep fares, or its restore."""

    unswept_for: float | None
    """Seconds since a batch was last through; null where there is nothing left to do."""
    failures: int
    """Batches that failed since then."""
    failing_since: Instant | None
    last_error: str | None
    """Why the last one did, in the words of the process that tried."""
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
    """Of a retry: cancelled runs are meant as well as failed ones."""
    rate: int | None
    """Runs a second that its sweep and its restore may rewrite; null is as fast as it goes."""
    run_id: str | None
    """Of kind `run`: which one."""
    guarantee: str
    """Now. `in_force`: no matching run is claimed any more; `pending`: not yet, an open transaction is in the way;
    `ended`: not any more, it was stopped or undone; `none`: it is a retry."""
    blocked_by: list[int]
    """While pending: the process ids in Postgres whose open transactions it waits for."""
    blocked_by_prepared: list[str]
    """While pending: the prepared transactions that it waits for, by their names in `pg_prepared_xacts`."""
    created_at: Instant
    created_by: str
    """The author, as said by the client; nobody proves it."""
    created_role: str
    """The database role that was logged in, which is proven: of what came through this server, the server's own."""
    compiled: str
    """`verified`: what is executed is what `if` and the request say; `unverified`: it is not, so somebody committed it
    by other means than secateur; `other_version`: another version of the compiler wrote it, this one cannot tell."""
    reason: str | None
    source: str
    """As said by the client."""
    undone_at: Instant | None
    undone_by: str | None
    undo_until: Instant | None
    """Until when it can be undone; null while it is active: as long as it is, and for a set time after that."""
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
    """As the client gave it."""
    role: str
    """The database role that was logged in."""
    address: str | None
    """The client's of Postgres, as Postgres saw it: this server's, for what came through it; null is a local one."""
    application_name: str | None
    source: str | None
    details: dict[str, Any]
    """What was asked for, and counts; what there is depends on the action."""
