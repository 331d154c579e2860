"""`--wait`: rewriting the rows of a cancellation, or putting them back, until there is nothing left to do."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from secateur.backoff import Backoff, persist
from secateur.cli.describing import expected_in_words
from secateur.cli.opening import CommandSession
from secateur.cli.output import notice
from secateur.cli.progress import ProgressBar
from secateur.errors import SecateurError, Unreachable
from secateur.ledger.wording import blocked_by, sweep_in_words
from secateur.words.figures import number

if TYPE_CHECKING:
    from secateur.records import Cancellation

LOST_CONNECTION = Backoff(1, 1, attempts=60)
"""The work goes on in the database as long as anybody sweeps; the wait is only for its end."""


async def wait_for(session: CommandSession, cancellation: Cancellation, *, until_idle: bool = False) -> Cancellation:
    """The cancellation once it is complete, stopped or restored; with progress for whoever looks on.

    `until_idle` is as for `Cancellations.wait`.
    """
    wait = partial(session.queue.cancellations.wait, cancellation.id, until_idle=until_idle)
    work = asyncio.create_task(persist(wait, LOST_CONNECTION, Unreachable))
    progress = ProgressBar()
    try:
        while not (await asyncio.wait({work}, timeout=1))[0]:
            await _show_progress(session, cancellation.id, progress)
    except asyncio.CancelledError:
        progress.end()
        notice("secateur: stopped waiting; other secateur processes continue the work")
        raise
    finally:
        progress.end()
        work.cancel()
    return await work


async def _show_progress(session: CommandSession, cancellation_id: UUID, progress: ProgressBar) -> None:
    try:
        now = await session.queue.cancellations.get(cancellation_id)
    except SecateurError:
        return
    if now.is_retry:
        done = f"{number(now.restored)} taken back" if now.restoring else f"{number(now.retried)} queued again"
        progress.show(done)
        return
    failing = "" if (said := sweep_in_words(now)) is None else f"; {said}"
    if now.restoring:
        back, wanted = now.restored_of
        progress.show(f"{number(back)} of {number(wanted)} back{failing}", back / max(1, wanted))
        return
    expected = f" of {expected_in_words(now)}" if now.expected is not None else ""
    share = now.cancelled / now.expected if now.expected else None
    stopping = f", {number(now.stopping)} still running" if now.stopping else ""
    pending = f"; pending, waiting for {blocked_by(now)}" if now.is_pending else ""
    progress.show(f"{number(now.cancelled)}{expected} cancelled{stopping}{pending}{failing}", share)
